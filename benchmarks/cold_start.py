"""Measure the time from process start to the first response on one core, on Lambda and uvicorn.

    PYTHONPATH=. python benchmarks/cold_start.py [--rounds 10] [--python PYTHON]

Lambda is emulated: AWS's runtime client talks to a Runtime API on the same machine. Requests to
uvicorn are repeated until the model is loaded. The photo is a generated 4 kB JPEG. All files are in
the page cache, and the times do not include the download of Lambda's container image. Later
responses come from the same process; the client times them. Compile the bytecode first, as the
container image does:

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
WARM = 20  # later responses timed in each process

Start = Callable[[str], AbstractContextManager[Callable[[], None]]]


@contextmanager
def on_lambda(python: str) -> Iterator[Callable[[], None]]:
    """Start the Lambda function; yield a function that sends one request."""
    event = function_url("POST", "/predict", PHOTO, "image/jpeg")
    with lambda_function(Path(os.devnull), wrapper=ONE_CORE, python=python) as function:

        def send() -> None:
            assert function.invoke(event)["statusCode"] == 200

        yield send


@contextmanager
def on_uvicorn(python: str) -> Iterator[Callable[[], None]]:
    """Start a server; yield a function that repeats a request until it succeeds."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*ONE_CORE, python, "-m", "app", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def send() -> None:
            while True:
                try:
                    if client.post("/predict", content=PHOTO).is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.001)

        yield send
    process.kill()
    process.wait()


def measure(start: Start, python: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds to the first response and of later responses."""
    cold, warm = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        with start(python) as send:
            send()
            cold.append((time.perf_counter() - started) * 1000)
            for _ in range(WARM):
                started = time.perf_counter()
                send()
                warm.append((time.perf_counter() - started) * 1000)
        time.sleep(0.3)
    return cold, warm


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description="Time from process start to the first response.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure")
    given = parser.parse_args()
    table = Table(
        "", "first response, best", "median", "later responses, median", title="ms, one core"
    )
    for name, start in (("Lambda runtime", on_lambda), ("python -m app", on_uvicorn)):
        cold, warm = measure(start, given.python, given.rounds)
        figures = (min(cold), median(cold), median(warm))
        table.add_row(name, *(f"{value:.0f}" for value in figures[:2]), f"{figures[2]:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
