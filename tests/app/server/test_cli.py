"""`python -m app`: options, settings, limits, and what it must not store."""

import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.server.cli import limit_workers, raise_file_limit
from tests.app.helpers import connect, running, until
from tests.helpers import ROOT


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_invalid_setting_is_reported_on_one_line(workers: str) -> None:
    done = run(
        "--port=0", "--workers", workers, SKYSPOTTER_THREADS="none", SKYSPOTTER_LOG_FORMAT="xml"
    )
    assert done.returncode == 3
    threads, log_format = done.stderr.splitlines()
    assert "cannot serve: setting threads (SKYSPOTTER_THREADS): Input should be" in threads
    assert "cannot serve: setting log_format (SKYSPOTTER_LOG_FORMAT): Input should" in log_format


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--workers=0"], {}, "--workers must be at least 1"),
        ([], {"PORT": "http"}, "argument --port: invalid int value: 'http'"),
        ([], {"WEB_CONCURRENCY": "two"}, "argument --workers: invalid int value: 'two'"),
    ],
)
def test_an_invalid_argument_is_reported(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    done = run(*arguments, **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_file_limit_is_raised_for_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    for soft, hard in ((1024, 524_288), (1024, 4096), (1024, resource.RLIM_INFINITY)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=(soft, hard): now)
        raise_file_limit()
    assert limits == [(8192, 524_288), (4096, 4096), (8192, resource.RLIM_INFINITY)]
    for soft in (524_288, resource.RLIM_INFINITY):  # already more than enough
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=(soft, soft): now)
        raise_file_limit()
    assert len(limits) == 3


def test_at_most_one_worker_per_cpu_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.cli.usable_cpus", lambda: 3)
    assert [limit_workers(workers) for workers in (1, 3, 4, 100)] == [1, 3, 3, 3]


def test_photos_are_not_stored(log: Path, photo: bytes, tmp_path: Path) -> None:
    """Large forms are spooled to disk: nothing is left, whatever becomes of the request."""
    spool = tmp_path / "spool"
    spool.mkdir()
    name, large = "holiday-secret.jpg", photo + bytes(4_000_000)
    with running("app", log=log, TMPDIR=str(spool)) as (address, process):
        for body, status in ((large, 200), (b"\xff\xd8\xff" + large, 422), (bytes(3_000_000), 415)):
            answer = httpx.post(f"{address}/predict", files={"file": (name, body)})
            assert answer.status_code == status
        with connect(address) as connection:  # and disconnects before the end
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
            kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            part = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
            connection.sendall((head + kind + part).encode() + large)
            until(lambda: count_open_files(process, spool) == 1)
        until(lambda: count_open_files(process, spool) == 0)
        assert list(spool.iterdir()) == []
    assert name not in log.read_text()
    assert "\\xff\\xd8" not in log.read_text()


def count_open_files(process: subprocess.Popen[bytes], folder: Path) -> int:
    """Count the files below `folder` that the process has open, including deleted ones."""
    count = 0
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has just been closed
            count += str(folder) in os.readlink(link)
    return count
