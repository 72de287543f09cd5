"""The device to train on: a GPU if there is one, else the CPU; in bfloat16 if that is fast."""

import os
import platform
import re
from contextlib import AbstractContextManager, suppress
from ctypes import CDLL
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ml import __version__
from ml.cpus import usable_cpus
from ml.torchvision_import import torchvision

Module = TypeVar("Module", bound=nn.Module)

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # options of mallopt(3), from malloc.h


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution that halves the resolution, always in float32.

    Its gradient in bfloat16 takes oneDNN five to ten times as long as in float32: these three
    layers took a fifth of a step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H/2, W/2), in the type of the input."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


@dataclass(frozen=True)
class Device:
    """A torch device, and whether it computes in bfloat16."""

    torch_device: torch.device
    bfloat16: bool

    @classmethod
    def choose(cls, workers: int, processes: int = 1) -> "Device":
        """Choose the GPU, or the CPU without the cores that the loading processes need.

        torch's threads wait for each other by spinning. If a loading process takes a core from
        one of them, all of them wait: training was measured eight times slower.

        Args:
            workers: loading processes of each training process.
            processes: training processes on this machine.
        """
        if torch.cuda.is_available():
            bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
            return cls(torch.device("cuda"), bfloat16)
        # With several processes, ignore OMP_NUM_THREADS: torchrun always sets it to 1.
        if "OMP_NUM_THREADS" not in os.environ or processes > 1:
            torch.set_num_threads(max(1, usable_cpus() // processes - workers))
        # Channels that are always near zero produce denormal numbers, which CPUs compute a hundred
        # times slower. Flushing them to zero does not change the results.
        torch.set_flush_denormal(True)
        _keep_memory()
        capabilities = torch.cpu.get_capabilities()
        bfloat16 = any(on is True for name, on in capabilities.items() if "bf16" in name)
        return cls(torch.device("cpu"), bfloat16)

    def to(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device."""
        return tensor.to(self.torch_device, non_blocking=True)

    def prepare(self, module: Module) -> Module:
        """Move a network to the device, in the channels-last layout, which is faster."""
        if self.bfloat16 and self.torch_device.type == "cpu":
            for part in module.modules():
                if type(part) is nn.Conv2d and part.groups > 1 and part.stride[0] > 1:
                    part.__class__ = StridedDepthwise
        module.to(self.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in bfloat16 inside the context, if that is fast."""
        return torch.autocast(self.torch_device.type, torch.bfloat16, enabled=self.bfloat16)

    def environment(self) -> dict[str, Any]:
        """Return the hardware and versions, to reproduce a run."""
        gpu = self.torch_device.type == "cuda"
        return {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "skyspotter": __version__,
            "processor": torch.cuda.get_device_name(self.torch_device) if gpu else _processor(),
            "cores": usable_cpus(),
            "device": str(self.torch_device),
            "bfloat16": self.bfloat16,
        }


def _keep_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system.

    The system clears returned pages before it hands them out again, which took a quarter of all
    CPU time. Keeping them takes a tenth more memory. Other C libraries stay as they are.
    """
    with suppress(AttributeError, OSError, TypeError):
        allocator = CDLL(None)
        allocator.mallopt(_MMAP_MAX, 0)
        allocator.mallopt(_TRIM_THRESHOLD, -1)
        allocator.mallopt(_TOP_PAD, 64 << 20)


def _processor() -> str:
    """Return the processor's name, or its architecture if the name is unknown."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()
