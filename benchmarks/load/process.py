"""Start a server, wait for its first response, measure its CPU time and memory, stop it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks.load.photo import Photo
from ml.cpus import usable_cpus

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
KB_PER_MB = 1024  # /proc counts in KB


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    first_response: float
    """Seconds from the start of the process."""

    def ask(self, photo: Photo) -> bytes | None:
        """Send a photo on a new connection; return the body, or None if the status is not 200."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/predict", photo.body, {"Content-Type": photo.type})
            response = connection.getresponse()
            body = response.read()
            return body if response.status == 200 else None
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def cpu_ms(self) -> float:
        """Return the CPU time of all its processes so far; other programs hardly affect it."""
        ticks = 0
        for pid in _family(self.process.pid):
            with suppress(OSError):
                ticks += sum(int(field) for field in _stat(pid)[11:15])  # and of ended children
        return ticks * 1000 / os.sysconf("SC_CLK_TCK")

    def memory(self) -> list[tuple[float, float]]:
        """Return proportional and resident megabytes of each process, the largest first."""
        found = []
        for pid in _family(self.process.pid):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            except OSError:  # the process has just ended
                continue
            sizes = {name: int(rest.split()[0]) for name, rest in (x.split(":") for x in lines)}
            found.append((sizes["Pss"] / KB_PER_MB, sizes["Rss"] / KB_PER_MB))
        return sorted(found, reverse=True)


@contextmanager
def running(command: list[str], photo: Photo, cpus: str | None = None) -> Iterator[Server]:
    """Start a server, optionally pinned to CPUs, and stop all its processes at the end.

    In the command, `{port}` is replaced by a free port and `{workers}` by the number of CPUs.

    Raises:
        RuntimeError: if it exits or does not respond in time; contains the end of its log.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workers = 1 if cpus else usable_cpus()
    words = [word.format(port=port, workers=workers) for word in command]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PEER_WORKERS": str(workers)}
    environment |= {"BENTOML_DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"}
    words = (["taskset", "--cpu-list", cpus] if cpus else []) + words
    with TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            server = Server(port, process, 0.0)
            while server.ask(photo) is None:
                if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                    log.seek(0)
                    raise RuntimeError(f"{words} does not respond:\n{log.read().decode()[-3000:]}")
                time.sleep(0.005)
            yield Server(port, process, time.perf_counter() - started)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    family = _family(process.pid)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in family[1:]:  # children that outlived their parent
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    """Return a process and all its descendants, in any session."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has just ended
            parents[int(folder.name)] = int(_stat(int(folder.name))[1])
    family = [pid]
    for one in family:  # grows while iterating
        family += [child for child, parent in parents.items() if parent == one]
    return family


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may contain spaces and `)`."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
