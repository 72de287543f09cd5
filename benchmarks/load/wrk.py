"""Run the load tool `wrk`, with one thread and several connections that are never idle."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load.photo import Photo

_SCRIPT = """
local file = assert(io.open("{body}", "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "{type}"
function done(summary, latency, requests)
  local bad = summary.errors
  io.write(string.format('{{"requests": %d, "microseconds": %d, "p50": %f, "p99": %f, "bad": %d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    bad.connect + bad.read + bad.write + bad.status + bad.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """The results of a load."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float


def load(port: int, photo: Photo, connections: int, seconds: int) -> Load:
    """Send requests to a server on this machine.

    Raises:
        RuntimeError: if any request failed or its status was not 200.
    """
    with TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "script.lua"
        body.write_bytes(photo.body)
        script.write_text(_SCRIPT.format(body=body, type=photo.type))
        options = [
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
        ]
        command = ["wrk", *options, f"http://127.0.0.1:{port}/predict"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if run.returncode:
        raise RuntimeError(f"wrk failed: {run.stderr or run.stdout}")
    results = json.loads(run.stdout[run.stdout.rindex("{") :])
    if results["bad"]:
        raise RuntimeError(f"{results['bad']} of {results['requests']} requests failed")
    rate = results["requests"] / (results["microseconds"] / 1e6)
    return Load(results["requests"], rate, results["p50"] / 1000, results["p99"] / 1000)
