"""Score on a Ray cluster: actors load the model once and score whole parts on any free CPU.

The nodes read the files themselves, at the same path on every node or from a URL. Results are
sent to the machine that started the job, which writes them. Ray Data applies backpressure: it
starts no more parts while finished ones wait to be written.
"""

import logging
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from ml.cpus import usable_cpus
from ml.engines.loader import Opened
from ml.errors import ModelError, ScoringError
from ml.predictor import Predictor
from ml.scoring.job import ScoringItem, as_item, to_list_table
from ml.scoring.local import Backend, ScoredPart, score_items, to_table

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
from ray.data import ActorPoolStrategy, DataContext, from_arrow_refs
from ray.exceptions import RayError

_OWN_ERROR = re.compile(r"^ml\.errors\.\w+: (.*)$", re.MULTILINE)  # in a node's traceback

# Parts submitted at a time: about a million files, so that scoring starts before a list of a
# billion files is read. Actors restart between two slices.
SLICE = 4096


class Scorer:
    """An actor on one CPU, which holds the model and scores one part after the other."""

    def __init__(self, model: "ray.ObjectRef[bytes]") -> None:
        with TemporaryDirectory() as folder:  # nodes may not share a disk
            path = Path(folder, "model.onnx")
            path.write_bytes(ray.get(model))
            try:
                self.predictor = Predictor(path)
            except ModelError as error:  # such as int8, which some CPUs compute differently
                raise ModelError(
                    f"A node cannot run the model: {error} Try --precision float32."
                ) from None

    def __call__(self, part: pa.Table) -> pa.Table:
        """Score a part, given as a table of its items."""
        items = [as_item(row["part"], row) for row in part.to_pylist()]
        rows = score_items(self.predictor, items, 1)
        table = to_table(self.predictor, (row for _, row in rows))
        return table.append_column("part", part["part"])


@contextmanager
def cluster(address: str) -> Iterator[Backend]:
    """Connect to a cluster: `auto` finds this machine's, `local` starts one for this call.

    Raises:
        ScoringError: if there is no cluster, or it fails during the job.
    """
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": usable_cpus(), "include_dashboard": False}
        own |= {"_node_ip_address": "127.0.0.1"}  # other machines need not reach it
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the error says the same
    try:
        if re.fullmatch(r"[^/]+:\d+", address):  # try once, because ray.init tries for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, ValueError, RuntimeError, RayError) as error:  # wrong version or token too
        raise ScoringError(f"There is no Ray cluster at {address}: {error}") from error
    try:
        yield score_on_ray
    except RayError as error:
        messages = _OWN_ERROR.findall(str(error))
        failed = f"The cluster failed: run the same command again to continue. {error}"
        raise ScoringError(messages[-1] if messages else failed) from error
    finally:
        ray.shutdown()


def score_on_ray(model: Opened, parts: Iterable[list[ScoringItem]]) -> Iterator[ScoredPart]:
    """Score on all CPUs of the cluster, also on those that join later.

    Parts that wait, as lists of names, are in Ray's object store, one slice of the job at a time.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    put: Any = ray.put  # its type is not the one that from_arrow_refs accepts
    data, parts = put(model.file.data), iter(parts)
    while tables := [put(_to_table(part)) for part in islice(parts, SLICE)]:
        results = from_arrow_refs(tables).map_batches(
            Scorer,
            batch_size=None,  # a block is a part
            batch_format="pyarrow",
            fn_constructor_args=[data],
            num_cpus=1,
            compute=ActorPoolStrategy(min_size=1, max_size=len(tables)),
        )
        block: Any
        for block in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield block["part"][0].as_py(), block.drop_columns("part")


def _to_table(items: list[ScoringItem]) -> pa.Table:
    return to_list_table(items).append_column("part", pa.array([item.part for item in items]))
