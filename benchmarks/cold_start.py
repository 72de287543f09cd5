"""From a process' start to its first answer, on one core: as Lambda starts it, and as uvicorn does.

    PYTHONPATH=. python benchmarks/cold_start.py [--rounds 10] [--python PYTHON]

Lambda is its Runtime API on loopback with AWS' runtime client; uvicorn is asked until its model
is there. The photo is a drawn JPEG of 4 kB. The files that are read lie in the page cache: what
Lambda takes to fetch an image is not in these times. Warm answers are those of the same process,
as the caller sees them. As in the container image, bytecode should be there before:

    python -m compileall -q app ml
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median

import httpx
from rich.console import Console
from rich.table import Table

from tests.app.lambda_events import function_url
from tests.app.runtime_api import lambda_function
from tests.helpers import ROOT, encoded, picture

PHOTO = encoded(picture(), "JPEG", quality=90)
ONE_CORE = ("taskset", "--cpu-list", "0")
WARM = 20  # answers a process, after its first

Start = Callable[[str], AbstractContextManager[Callable[[], None]]]


@contextmanager
def on_lambda(python: str) -> Iterator[Callable[[], None]]:
    """Start a function; yields what asks it for an answer."""
    event = function_url("POST", "/predict", PHOTO, "image/jpeg")
    with lambda_function(Path(os.devnull), wrapper=ONE_CORE, python=python) as function:

        def ask() -> None:
            assert function.invoke(event)["statusCode"] == 200

        yield ask


@contextmanager
def on_uvicorn(python: str) -> Iterator[Callable[[], None]]:
    """Start a server; yields what asks it until it has answered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*ONE_CORE, python, "-m", "app", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def ask() -> None:
            while True:
                try:
                    if client.post("/predict", content=PHOTO).is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.001)

        yield ask
    process.kill()
    process.wait()


def measure(start: Start, python: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of first answers, and of later ones."""
    cold, warm = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        with start(python) as ask:
            ask()
            cold.append((time.perf_counter() - begun) * 1000)
            for _ in range(WARM):
                begun = time.perf_counter()
                ask()
                warm.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.3)
    return cold, warm


def main() -> None:
    """Measure both, and print a table."""
    parser = argparse.ArgumentParser(description="Time from a process' start to its first answer.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure")
    given = parser.parse_args()
    table = Table("", "first answer, best", "median", "later answers, median", title="ms, one core")
    for name, start in (("Lambda's runtime", on_lambda), ("python -m app", on_uvicorn)):
        cold, warm = measure(start, given.python, given.rounds)
        figures = (min(cold), median(cold), median(warm))
        table.add_row(name, *(f"{value:.0f}" for value in figures[:2]), f"{figures[2]:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
