"""Load on a running service, its workers, and the log lines that tests wait for."""

import os
import signal
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx

from tests.app.helpers import until

Server = tuple[str, subprocess.Popen[bytes]]
"""Address and process of a service."""

RELOAD_FAILED = "reload failed"
BACKUP_LOADED = "loading the backup"
VERSION_2_LOADED = "model 2.0 is served"


class Load:
    """Clients that send a photo again and again, and remember the status or the error.

    Each client opens a connection per photo, or (`keep_alive`) uses one connection.
    """

    def __init__(
        self, address: str, photo: bytes, clients: int = 4, keep_alive: bool = False
    ) -> None:
        self.address, self.photo, self.keep_alive = address, photo, keep_alive
        self.answers: list[int | str] = []
        self._is_stopped = False
        pool = ThreadPoolExecutor(clients)
        self._clients: list[Future[None]] = [pool.submit(self._send) for _ in range(clients)]

    def _send(self) -> None:
        with httpx.Client(timeout=20) as client:
            post = client.post if self.keep_alive else partial(httpx.post, timeout=20)
            while not self._is_stopped:
                try:
                    answer = post(f"{self.address}/predict", content=self.photo)
                    self.answers.append(answer.status_code)
                except httpx.HTTPError as error:
                    self.answers.append(type(error).__name__)
                    time.sleep(0.01)

    def wait_for_answers(self, count: int = 10) -> None:
        """Wait until as many more photos are answered."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted)

    def stop(self) -> list[int | str]:
        """Stop the clients and return all statuses and errors."""
        self._is_stopped = True
        for client in self._clients:
            client.result()
        return self.answers


def children(process: subprocess.Popen[bytes]) -> set[int]:
    """The process ids of the workers."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    found = set()
    for pid in map(int, listed.split()):
        with suppress(OSError):  # it has just died
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def kill_worker(process: subprocess.Popen[bytes]) -> int:
    """Kill a worker and return the process id of its replacement."""
    before = children(process)
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(children(process) - before) == 1)
    (new,) = children(process) - before
    return new


def replace_worker(process: subprocess.Popen[bytes], log: Path) -> None:
    """Kill a worker and wait until its replacement serves."""
    started = log.read_text().count("startup complete")
    kill_worker(process)
    until(lambda: log.read_text().count("startup complete") > started)


def versions(address: str) -> set[str]:
    """The model versions that a few requests see; they go to different workers."""
    answers = [httpx.get(f"{address}/health").json() for _ in range(12)]
    return {answer["model"]["version"] for answer in answers}
