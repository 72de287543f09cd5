"""The service beside its peers: the same network, photo and load tool, taking turns.

    PYTHONPATH=. python benchmarks/serving.py [--rounds 3] [--seconds 4] [--only NAME ...] [--write]

`make bench` makes the peers' environment, .venv-peers, and runs this; `wrk` must be installed
(`apt-get install wrk`). It shares the cores with the server that it asks. The photo is a drawn
JPEG of 640 x 480 of quality 90. Each server is started anew in each round, and its answers are
compared with the offline predictor's before it is measured. CPU time is that of all its processes:
on a busy machine its ratios hold where those of requests a second are noise. `--write` writes
benchmarks/serving.md; run it on a machine that does nothing else.
"""

import argparse
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.load.contest import CONNECTIONS, PEERS, Contestant, bare_loop, contestants
from ml.cpus import usable_cpus

PAGE = Path(__file__).with_suffix(".md")
STEPS = "## What each step bought"
OURS = "skyspotter"
GOALS = "Goals: 3 times the best peer, 8 times eager torch, 85 % of the bare loop."


@dataclass(frozen=True)
class Sheet:
    """A table, for the terminal and for the page."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def print(self) -> None:
        """Show it."""
        table = Table(*self.header, title=self.title)
        for row in self.rows:
            table.add_row(*row)
        Console().print(table)

    def markdown(self) -> str:
        """Write it."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join([f"## {self.title}\n", *(f"| {' | '.join(line)} |" for line in lines)])


def spread(values: list[float], digits: int = 0) -> str:
    """The median, and from where to where."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def rates(one: Contestant) -> list[float]:
    """Requests a second at 8 connections, of each round."""
    return [round.per_second for round in one.loads[CONNECTIONS[0]]]


def throughput(measured: list[Contestant], bare: list[tuple[float, float]]) -> Sheet:
    """Requests a second and CPU time a request, with ours' ratio to each in the same round."""
    found = {one.name: (rates(one), one.cpu_ms) for one in measured}
    found["bare loop"] = [rate for rate, _ in bare], [cpu for _, cpu in bare]
    ours = found.get(OURS)
    rows = []
    for name, (per_second, cpu_ms) in found.items():
        row = [name, spread(per_second), "", spread(cpu_ms, 2), ""]
        if ours:
            pairs = zip(ours[0], per_second, strict=True), zip(cpu_ms, ours[1], strict=True)
            row[2], row[4] = (spread([a / b for a, b in pair], 2) for pair in pairs)
        rows.append(row)
    title = f"Requests a second and CPU time a request, {CONNECTIONS[0]} connections"
    times = f"{OURS} is times"
    return Sheet(title, ["server", "requests/s", times, "CPU ms/request", times], rows)


def latency(measured: list[Contestant]) -> Sheet:
    """Median over the rounds of the median, and of the 99th percentile."""
    header = ["server"] + [f"{c}: p50, p99" for c in sorted(CONNECTIONS)]
    rows = []
    for one in measured:
        cells = []
        for connections in sorted(CONNECTIONS):
            found = one.loads[connections]
            p50, p99 = median(x.p50_ms for x in found), median(x.p99_ms for x in found)
            cells.append(f"{p50:.1f}, {p99:.1f}")
        rows.append([one.name, *cells])
    return Sheet("Latency in ms, by number of connections", header, rows)


def footprint(measured: list[Contestant]) -> Sheet:
    """One core, and memory."""
    header = ["server", "first answer, s", "12 megapixels, ms", "largest process, MB (PSS, RSS)",
              "all processes, MB (PSS)"]  # fmt: skip
    rows = []
    for one in measured:
        pss, rss = one.memory[0]
        large, first = spread(one.large_ms), spread(one.first_answer, 2)
        total = sum(memory for memory, _ in one.memory)
        rows.append([one.name, first, large, f"{pss:.0f}, {rss:.0f}", f"{total:.0f}"])
    return Sheet("On one core, and memory after the load", header, rows)


def page(sheets: list[Sheet], command: str) -> str:
    """The results as a page; what people wrote at its end stays."""
    processor = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    names = ("fastapi", "uvicorn", "onnxruntime", "numpy")
    ours = ", ".join(f"{name} {version(name)}" for name in names)
    pinned = (Path(__file__).parent / "peers" / "requirements.txt").read_text().splitlines()
    wanted = ("fastapi=", "litserve=", "bentoml=", "onnxruntime=", "torch=", "pillow=")
    theirs = ", ".join(p.replace("==", " ") for p in pinned if p.startswith(wanted))
    steps = PAGE.read_text().partition(STEPS)[2] if PAGE.exists() else "\n\nNot written yet.\n"
    return (
        f"# Serving, measured\n\n    {command}\n\n{usable_cpus()} cores of {processor}, "
        f"Python {platform.python_version()}; {ours}. Peers: {theirs}. {GOALS}\n"
        "Each figure is the median of the rounds, with least and most.\n\n"
        + "\n\n".join(sheet.markdown() for sheet in sheets)
        + f"\n\n{STEPS}{steps}"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = [one.name for one in contestants()]
    parser = argparse.ArgumentParser(description="The service beside its peers.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load in a round")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"of: {'; '.join(names)}")  # fmt: skip
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    given = arguments()
    if shutil.which("wrk") is None or not PEERS.is_dir():
        sys.exit("Install wrk (apt-get install wrk), and run `make bench` for the peers.")
    measured = [one for one in contestants() if one.name in given.only]
    bare = []
    for number in track(range(given.rounds), "rounds"):
        bare.append(bare_loop(given.seconds))
        # Every second round the other way about: what drifts, drifts for all.
        for one in measured[:: -1 if number % 2 else 1]:
            one.under_load(given.seconds)
            one.on_one_core()
    sheets = [throughput(measured, bare), latency(measured), footprint(measured)]
    for sheet in sheets:
        sheet.print()
    if given.write:
        options = f"--rounds {given.rounds} --seconds {given.seconds}"
        PAGE.write_text(page(sheets, f"PYTHONPATH=. python benchmarks/serving.py {options}"))


if __name__ == "__main__":
    main()
