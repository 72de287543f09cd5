"""The processes that train together, one or as many as `torchrun` starts.

Data parallelism as in Li et al. 2020, "PyTorch Distributed", https://arxiv.org/abs/2006.15704:
each process sees its share of every batch, and gradients are averaged over all.
"""

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
PATIENCE = timedelta(hours=2)
"""How long the others wait while the first looks through a large folder."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run; `local` ones share its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    restarted: bool = False
    """Whether torchrun started all anew, after one of them had died."""

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, make: Callable[[], T]) -> T:
        """Let the first process make something, and give it to all."""
        if self.count == 1:
            return make()
        made = [make() if self.leads else None]
        torch.distributed.broadcast_object_list(made, src=0)
        return made[0]  # type: ignore[return-value]

    def gather(self, parts: list[T]) -> list[T]:
        """Join the lists of all processes, in the same order in each."""
        if self.count == 1:
            return parts
        lists: list[list[T]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(lists, parts)
        return [part for each in lists for part in each]

    def connect(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that its gradients are averaged over all processes."""
        return DistributedDataParallel(network) if self.count > 1 else network

    def level(self, network: nn.Module) -> None:
        """Give every process the first one's batch statistics."""
        if self.count > 1:
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, src=0)


ALONE = Processes()


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes that torchrun has started; without it there is one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    rank, count, local_rank, local_count, restarts = (
        int(os.environ[name])
        for name in (
            "RANK",
            "WORLD_SIZE",
            "LOCAL_RANK",
            "LOCAL_WORLD_SIZE",
            "TORCHELASTIC_RESTART_COUNT",
        )
    )
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    # Tensors travel by the backend of their device; what is gathered as objects, by gloo.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, *_ = next(rendezvous("env://", timeout=PATIENCE))
    if local_count == count:
        # torchrun's store outlives a restart, with the addresses of those that died in it.
        # (Its agents on several machines count restarts each for itself.)
        store = torch.distributed.PrefixStore(  # type: ignore[attr-defined]
            f"start {restarts}", store
        )
    torch.distributed.init_process_group(
        backend, store=store, rank=rank, world_size=count, timeout=PATIENCE
    )
    try:
        yield Processes(rank, count, local_rank, local_count, restarts > 0)
    finally:
        torch.distributed.destroy_process_group()
