"""Compare `python -m ml score` with a naive loop and this machine's ceiling, in photos/s.

    python benchmarks/scoring.py [--photos 1500] [--rounds 3] [--ray]

The naive loop calls `Predictor.predict` for one photo after the other. The ceiling is a minimal
loop in one process per usable CPU, each with its own model and its share of the files: read,
decode, crop, run the network. `score` also lists the files, keeps their order, and writes and joins
the parts. All run alternately, with the model file that `score` chooses on this machine and the
same drawn JPEGs of 640 x 480 pixels. The files are in the page cache. The models of the loops are
loaded before the clock starts; the time of `score` is from its call to its finished file. `--ray`
adds clusters of one and two nodes with one CPU each, timed after their workers have started.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from rich.console import Console
from rich.table import Table

from ml.cpus import usable_cpus
from ml.data.synthetic import CLASSES, draw
from ml.engines.loader import Opened, open_best
from ml.images.decode import load_input
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.scoring.job import ScoringItem
from ml.scoring.local import ScoredPart, score, score_locally

QUIET = Console(quiet=True)
MODEL = open_best(SHIPPED_MODEL)


def photos(folder: Path, count: int) -> list[Path]:
    """Draw 100 photos, and link to them until there are `count` files."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < 100:
            picture = draw(CLASSES[number % len(CLASSES)], generator)[0]
            picture.resize((640, 480)).save(path, quality=90)
        else:
            path.hardlink_to(paths[number % 100])
    return paths


def naive(paths: list[Path]) -> float:
    """Time one photo after the other."""
    predictor = Predictor(MODEL.file.path)
    started = time.perf_counter()
    for path in paths:
        predictor.predict(path)
    return time.perf_counter() - started


def ceiling(paths: list[Path]) -> float:
    """Time a minimal loop in one process per CPU."""
    context, cpus = get_context("spawn"), usable_cpus()
    start, end = context.Barrier(cpus + 1), context.Barrier(cpus + 1)
    shares = [paths[cpu::cpus] for cpu in range(cpus)]
    processes = [
        context.Process(target=_minimal_loop, args=(share, start, end)) for share in shares
    ]
    for process in processes:
        process.start()
    start.wait()
    started = time.perf_counter()
    end.wait()
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    return seconds


def _minimal_loop(paths: list[Path], start: Barrier, end: Barrier) -> None:
    predictor = Predictor(MODEL.file.path)
    start.wait()
    for path in paths:
        predictor.engine.run(load_input(path, predictor.card.preprocessing))
    end.wait()


def ours(paths: list[Path]) -> float:
    """Time `python -m ml score`."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "predictions.parquet")
        started = time.perf_counter()
        score([str(paths[0].parent)], output, MODEL, QUIET, score_locally)
        return time.perf_counter() - started


def on_nodes(nodes: int, paths: list[Path]) -> float:
    """Time a cluster of `nodes` nodes with one CPU each, from its first part to its last."""
    from ray.cluster_utils import Cluster

    from ml.scoring.ray import cluster

    node: dict[str, Any] = {
        "num_cpus": 1,
        "object_store_memory": 100_000_000,
        "include_dashboard": False,
    }
    cpus = sorted(os.sched_getaffinity(0))
    ray = Cluster()
    for number in range(nodes):
        os.sched_setaffinity(0, {cpus[number % len(cpus)]})  # inherited by its processes
        ray.add_node(**node, node_ip_address=f"127.0.0.{number + 2}")
    os.sched_setaffinity(0, cpus)
    times: list[float] = []

    def timed(model: Opened, parts: Iterable[list[ScoringItem]]) -> Iterator[ScoredPart]:
        for scored in score_on_ray(model, parts):
            times.append(time.perf_counter())
            yield scored

    with cluster(ray.address) as score_on_ray, tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "predictions.parquet")
        score([str(paths[0].parent)], output, MODEL, QUIET, timed)
    ray.shutdown()  # type: ignore[no-untyped-call]
    # The first part of each node includes its start, so these parts are not counted.
    return (times[-1] - times[nodes - 1]) / (len(times) - nodes) * len(times)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    methods: dict[str, Callable[[list[Path]], float]] = {
        "naive loop": naive,
        "ceiling": ceiling,
        "score": ours,
    }
    if given.ray:
        methods |= {f"Ray, nodes: {nodes}": partial(on_nodes, nodes) for nodes in (1, 2)}
    rates: dict[str, list[float]] = {name: [] for name in methods}
    with tempfile.TemporaryDirectory() as folder:
        paths = photos(Path(folder), given.photos)
        for _ in range(given.rounds):
            for name, method in methods.items():
                rates[name].append(len(paths) / method(paths))
    found = {name: median(all_rates) for name, all_rates in rates.items()}
    title = f"{usable_cpus()} CPUs, {MODEL.engine.card.precision}"
    table = Table("method", "photos/s", "of the ceiling", "of the naive loop", title=title)
    for name, rate in found.items():
        shares = (f"{rate / found[base]:.0%}" for base in ("ceiling", "naive loop"))
        table.add_row(name, f"{rate:.0f}", *shares)
    Console().print(table)


if __name__ == "__main__":
    main()
