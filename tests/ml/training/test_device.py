import os
import platform
import subprocess
import sys

import pytest

PAGE_FAULTS = """
import resource
import torch
from ml.training.device import Device

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def page_faults_of_allocations():
    before = page_faults()
    for _ in range(10):
        torch.ones(10_000_000)
    return page_faults() - before

default = page_faults_of_allocations()
Device.choose(workers=0)
page_faults_of_allocations()
print(default, page_faults_of_allocations())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_memory_is_reused() -> None:
    """Memory that was returned to the system costs a page fault for each page it hands out."""
    on_cpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    printed = subprocess.check_output([sys.executable, "-c", PAGE_FAULTS], text=True, env=on_cpu)
    default, chosen = map(int, printed.split())
    assert chosen < default / 10
