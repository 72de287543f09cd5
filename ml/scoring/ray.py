"""Scoring on a Ray cluster: actors that hold the model work on whole parts, wherever there is room.

Photos are read where they are scored, at the same path on every node or at a URL; answers come
back here and are written here. Ray Data hands out no more where answers wait to be taken.
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
from ml.errors import ModelError, ScoringError
from ml.predictor import Predictor
from ml.scoring.job import Photo
from ml.scoring.local import Backend, Chosen, Scored, scored, table
from ml.scoring.retry import Reader

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read at import: nothing is sent home

import ray
from ray.data import ActorPoolStrategy, DataContext, from_arrow_refs
from ray.exceptions import RayError

_OWN = re.compile(r"^ml\.errors\.\w+: (.*)$", re.MULTILINE)  # in a traceback of a node's

SLICE = 4096
"""Parts that are handed to the cluster at a time, a million photos: none has to wait for the list
of a billion, and between two slices actors start anew."""


class Scorer:
    """An actor of one CPU: the model, and answers for one part after the other."""

    def __init__(self, model: "ray.ObjectRef[bytes]") -> None:
        with TemporaryDirectory() as folder:  # nodes need not share a disk
            path = Path(folder, "model.onnx")
            path.write_bytes(ray.get(model))
            try:
                self.predictor = Predictor(path)
            except ModelError as error:  # such as of int8, which some CPUs compute otherwise
                raise ModelError(
                    f"A node cannot run it: {error} Try --precision float32."
                ) from None
        self.reader = Reader()

    def __call__(self, part: pa.Table) -> pa.Table:
        """Answer for a part, as `ml.scoring.job` lists it."""
        photos = [
            Photo(row["part"], os.fsdecode(row["name"]), row["fault"]) for row in part.to_pylist()
        ]
        rows = scored(self.predictor, photos, 1, self.reader)
        answers = table(self.predictor, (row for _, row in rows))
        return answers.append_column("part", part["part"])


@contextmanager
def cluster(address: str) -> Iterator[Backend]:
    """Join a cluster: `auto` for that of this machine, `local` for one of this call's own.

    Raises:
        ScoringError: where there is none.
    """
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": usable_cpus(), "include_dashboard": False}
        own |= {"_node_ip_address": "127.0.0.1"}  # nobody else need reach it
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the error says it all
    try:
        _reach(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, ValueError, RuntimeError, RayError) as error:  # of versions, of tokens
        raise ScoringError(f"There is no Ray cluster at {address}: {error}") from error
    try:
        yield on_ray
    except RayError as error:
        said = _OWN.findall(str(error))
        reason = said[-1] if said else f"The cluster gave up; run this again to go on. {error}"
        raise ScoringError(reason) from error
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Knock at an address, for Ray itself would try for minutes.

    Raises:
        OSError
    """
    if re.fullmatch(r"[^/]+:\d+", address):
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def on_ray(chosen: Chosen, parts: Iterable[list[Photo]]) -> Iterator[Scored]:
    """Score the parts on the cluster's CPUs, also on those that join later.

    What waits, names alone, lies in Ray's object store, a slice of the job at a time.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    put: Any = ray.put  # whose type is not the one that from_arrow_refs asks for
    model, parts = put(chosen.model.data), iter(parts)
    while listed := [put(_table(part)) for part in islice(parts, SLICE)]:
        answers = from_arrow_refs(listed).map_batches(
            Scorer,
            batch_size=None,  # a block is a part
            batch_format="pyarrow",
            fn_constructor_args=[model],
            num_cpus=1,
            compute=ActorPoolStrategy(min_size=1, max_size=len(listed)),
        )
        block: Any
        for block in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield block["part"][0].as_py(), block.drop_columns("part")


def _table(photos: list[Photo]) -> pa.Table:
    parts, names, faults = zip(*photos, strict=True)
    return pa.table({"part": parts, "name": [*map(os.fsencode, names)], "fault": faults})
