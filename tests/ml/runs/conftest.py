"""A finished run that the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ml.runs.run import run
from ml.training.config import Config


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Use one thread: small pictures need no more, and waiting threads slow a busy machine."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def finished(one_thread: None, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run. Copy it before changing it."""
    output = tmp_path_factory.mktemp("run")
    config = Config(data=drawn, output=output, epochs=2, batch=8, workers=0, size=64)
    run(config, Console(quiet=True))
    return output
