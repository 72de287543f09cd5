"""Where training runs: a GPU where there is one, else the CPU, in bfloat16 where that is fast."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ml.cpus import usable_cpus

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Device:
    """A torch device, and whether bfloat16 is worth its while there."""

    torch: torch.device
    bfloat16: bool

    @classmethod
    def choose(cls, workers: int) -> "Device":
        """Take the GPU, or the CPU less the cores that the loading workers need.

        torch's threads wait for one another by spinning: where loading takes a core away from
        one of them, all of them stand still, and training was measured eight times slower.
        """
        if torch.cuda.is_available():
            return cls(torch.device("cuda"), torch.cuda.is_bf16_supported())
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, usable_cpus() - workers))
        # Dead channels of pretrained networks drown in denormal numbers, which CPUs compute a
        # hundred times slower; flushed to zero they cost nothing and change nothing.
        torch.set_flush_denormal(True)
        capabilities = torch.cpu.get_capabilities()
        bfloat16 = any(on is True for name, on in capabilities.items() if "bf16" in name)
        return cls(torch.device("cpu"), bfloat16)

    def place(self, tensor: Tensor) -> Tensor:
        """Move a tensor here."""
        return tensor.to(self.torch, non_blocking=True)

    def house(self, module: Module) -> Module:
        """Move a network here, in the channels-last layout that convolutions are faster in."""
        module.to(self.torch, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in bfloat16 inside, where that is fast."""
        return torch.autocast(self.torch.type, torch.bfloat16, enabled=self.bfloat16)
