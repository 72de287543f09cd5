"""The handler under Lambda's restrictions: no semaphores, no shared memory, only /tmp writable.

The function runs in its own mount namespace, so that the restrictions apply to C libraries too.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ml.predictor import Predictor
from tests.app.lambda_events import FORM, form, function_url, padded
from tests.app.runtime_api import lambda_function
from tests.helpers import ROOT

_READ_ONLY = f"""
mount --bind /tmp /tmp
mount --bind '{ROOT}' '{ROOT}'
elsewhere=$(findmnt --raw --noheadings --output TARGET | grep -vE '^/(tmp|proc|sys|dev)(/|$)')
for place in $elsewhere '{ROOT}'; do mount -o remount,bind,ro "$place"; done
mount -t tmpfs -o ro none /dev/shm
exec "$@"
"""
_NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
RESTRICTED = [*_NAMESPACE, "sh", "-ec", _READ_ONLY, "sh"]

# Python imports this module first. 38 is ENOSYS, the error of Lambda's kernel.
_SITECUSTOMIZE = """
import _multiprocessing

class SemLock:
    SEM_VALUE_MAX = 1
    def __init__(self, *_):
        raise OSError(38, "Function not implemented")

_multiprocessing.SemLock = SemLock
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Remove semaphores, and skip if this machine cannot apply the other restrictions."""
    if shutil.which("unshare") is None:
        pytest.skip("needs util-linux: unshare, mount, findmnt")
    probe = subprocess.run([*RESTRICTED, "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"this machine allows no mount namespace: {probe.stderr.strip()}")
    (tmp_path / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    return {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


@pytest.mark.parametrize(
    ("statement", "errno"),
    [
        ("import multiprocessing; multiprocessing.Lock()", 38),
        ("open('weights/new', 'w')", 30),
        ("import os; os.mkdir('/var/new')", 30),
        ("open('/dev/shm/new', 'w')", 30),
    ],
)
def test_the_restrictions_apply(
    environment: dict[str, str], tmp_path: Path, statement: str, errno: int
) -> None:
    (tmp_path / "probe.py").write_text(f"{statement}\ndef handler(*_): pass\n")
    log = tmp_path / "log"
    with lambda_function(log, "probe.handler", environment, RESTRICTED) as function:
        failed = function.results.get(timeout=30)
    assert failed.kind == "init/error"
    assert f"[Errno {errno}]" in failed.body["errorMessage"]


def test_the_service_works_under_the_restrictions(
    environment: dict[str, str], tmp_path: Path, photo: bytes, shipped: Predictor
) -> None:
    log, home = tmp_path / "log", tmp_path / "home"
    home.mkdir()  # writable, to check that the service writes nothing there
    with lambda_function(
        log, environment=environment | {"HOME": str(home)}, wrapper=RESTRICTED
    ) as f:
        # A form of this size is spooled to disk.
        for body, kind in ((photo, "image/jpeg"), (form(padded(photo, 4_000_000)), FORM)):
            answer = f.invoke(function_url("POST", "/predict", body, kind))
            assert answer["statusCode"] == 200
            expected = shipped.predict(photo).probabilities
            assert json.loads(answer["body"])["probabilities"] == expected
        for path in ("/docs", "/openapi.json", "/metrics", "/health", "/model"):
            assert f.invoke(function_url("GET", path, b"", ""))["statusCode"] == 200
    assert not list(home.iterdir())
    assert "Traceback" not in log.read_text()
