import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from ml.training.device import Device

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    before = faults()
    for _ in range(10):
        torch.ones(10_000_000)
    return faults() - before

print(work(), Device.choose(0) and work() and work())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_memory_that_is_freed_comes_again_as_it_is() -> None:
    """Pages that go back to the system cost a fault each when they come again."""
    on_cpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.check_output([sys.executable, "-c", FAULTS], text=True, env=on_cpu)
    before, after = map(int, said.split())
    assert after < before / 10
