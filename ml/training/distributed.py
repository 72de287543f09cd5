"""Data-parallel training: one process, or the processes that `torchrun` starts.

As in Li et al. 2020, "PyTorch Distributed", https://arxiv.org/abs/2006.15704: each process gets
its part of every batch, and gradients are averaged over all processes.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
TIMEOUT = timedelta(hours=2)
"""Time for the main process to scan a large folder while the others wait."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process's rank, and the number of processes: all, and those on this machine."""

    rank: int = 0
    count: int = 1
    local_count: int = 1
    restarted: bool = False
    """Whether torchrun restarted the group after a process had died."""

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes files and prints."""
        return self.rank == 0

    def broadcast(self, make: Callable[[], T]) -> T:
        """Call `make` in the main process, and return its result in all processes."""
        if self.count == 1:
            return make()
        made = [make() if self.is_main else None]
        torch.distributed.broadcast_object_list(made, src=0)
        return made[0]  # type: ignore[return-value]

    def gather(self, parts: list[T]) -> list[T]:
        """Concatenate the lists of all processes, in the same order in each process."""
        if self.count == 1:
            return parts
        lists: list[list[T]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(lists, parts)
        return [part for each in lists for part in each]

    def data_parallel(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that its gradients are averaged over all processes."""
        return DistributedDataParallel(network) if self.count > 1 else network

    def sync_buffers(self, network: nn.Module) -> None:
        """Copy the main process's batch-norm statistics to all processes."""
        if self.count > 1:
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, src=0)


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started. Without torchrun there is one process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield SINGLE_PROCESS
        return
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    rank, count, local_rank, local_count, restarts = (int(os.environ[name]) for name in names)
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    # Tensors use the backend of their device; gathered objects use gloo.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, *_ = next(rendezvous("env://", timeout=TIMEOUT))
    if local_count == count:
        # torchrun's store survives a restart and keeps the addresses of dead processes.
        # Each agent counts its own restarts, so a prefix would differ between machines.
        store = torch.distributed.PrefixStore(f"start {restarts}", store)  # type: ignore[attr-defined]
    torch.distributed.init_process_group(
        backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT
    )
    try:
        yield ProcessGroup(rank, count, local_count, restarted=restarts > 0)
    finally:
        # A DistributedDataParallel module that outlives the group frees it last, while it holds
        # Python's lock, and can then deadlock with gloo's threads, which wait for that lock.
        gc.collect()
        torch.distributed.destroy_process_group()
