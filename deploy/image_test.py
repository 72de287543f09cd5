"""Build the images, run them as in production, and send them a photo: `make image-test`.

It uses Docker, or buildah and debootstrap (as root on Debian) if no Docker engine runs.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from http.client import HTTPConnection
from io import BytesIO
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from deploy.engines import WORK, Buildah, Docker
from ml.data.synthetic import draw
from tests.app.runtime_api import RuntimeApi

MAX_BYTES, MAX_BYTES_WITHOUT_BASE = 300e6, 190e6  # bytes, uncompressed
BUILD_FILES = re.compile(
    r"/(pip[\d.]*|ensurepip|bin/(make|(.*-)?(gcc|g\+\+|cc|c\+\+|ld|strip)(-\d+)?))$"
    r"|/(\.cache|apt/lists|apt/archives)/.*\w$|\.(h|a|whl|deb|tar\.gz|pyi)$"
)
"""Files that only a build needs."""
DEBIAN_PATHS = ("/usr/lib/python3", "/usr/share/python-wheels")
"""Debian's own Python in the base image that buildah makes. It does not count as left over."""


def engine() -> Docker | Buildah:
    """Return the engine that works here; exit and say what is missing if none does."""
    if shutil.which("docker"):
        info = ["docker", "info", "--format={{.ServerVersion}}"]
        if subprocess.run(info, capture_output=True).returncode == 0:
            return Docker()
    missing = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        sys.exit(
            "Cannot build an image here: no Docker engine runs, and the alternative needs root, "
            "buildah and debootstrap (on Debian: apt-get install buildah debootstrap)."
        )
    return Buildah()


def check_service(engine: Docker | Buildah) -> None:
    """Start the service, send a photo, and stop it in the middle of the request.

    Raises:
        AssertionError: if the service does not answer, or does not stop.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    service = engine.start("serve", {"PORT": str(port)})
    try:
        health = wait_for_health(service, f"http://127.0.0.1:{port}/health")
        print(f"ready after {time.perf_counter() - started:.2f} s: {health}")
        engine.check_health(port)
        print("the health check passes")
        photo = drawing()
        client = HTTPConnection("127.0.0.1", port, timeout=30)
        client.putrequest("POST", "/predict")
        client.putheader("Content-Length", str(len(photo)))
        client.endheaders(photo[:1000])
        time.sleep(0.5)
        service.terminate()  # the running request must still be answered
        time.sleep(0.5)
        client.send(photo[1000:])
        answer = json.load(client.getresponse())
        print(f"answered after SIGTERM: {answer}")
        assert answer["label"] in answer["probabilities"]
        service.wait(timeout=30)
        print("stopped")
    finally:
        service.kill()


def check_lambda(engine: Docker | Buildah) -> None:
    """Run the Lambda image as AWS Lambda does, and send a photo as an event.

    Raises:
        AssertionError: if the answer is not 200.
    """
    event = {
        "version": "2.0",
        "rawPath": "/predict",
        "rawQueryString": "",
        "headers": {"content-type": "image/jpeg"},
        "requestContext": {"http": {"method": "POST", "path": "/predict", "sourceIp": "127.0.0.1"}},
        "body": b64encode(drawing()).decode(),
        "isBase64Encoded": True,
    }
    with RuntimeApi() as api:
        Thread(target=api.serve_forever, daemon=True).start()
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": "skyspotter",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        }
        function = engine.start("lambda", variables)
        try:
            answer = api.invoke(event)
        finally:
            function.kill()
            function.wait()
            api.events.put(None)
            api.shutdown()
    assert answer["statusCode"] == 200, answer
    print(f"lambda answers: {answer['body']}")


def check_training(engine: Docker | Buildah) -> None:
    """Train one epoch on a few synthetic images.

    Raises:
        AssertionError: if training fails.
    """
    arguments = ["train", "--epochs", "1", "--limit-data", "8", "--output", "/tmp/run"]
    training = engine.start("train", {}, *arguments)
    try:
        assert training.wait(timeout=600) == 0, "training failed; see its log above"
    finally:
        training.kill()


def drawing() -> bytes:
    """Draw a synthetic photo as JPEG."""
    file = BytesIO()
    draw("Flying Birds", np.random.default_rng(1))[0].save(file, "JPEG")
    return file.getvalue()


def wait_for_health(service: subprocess.Popen[bytes], url: str) -> str:
    """Poll until the status is 200; return the answer."""
    for _ in range(600):
        try:
            with urlopen(url, timeout=5) as response:
                return str(response.read().decode())
        except (URLError, ConnectionError):  # not listening yet, or 503
            assert service.poll() is None, "the service stopped; see its log above"
            time.sleep(0.05)
    raise AssertionError("the service was not ready after 30 seconds")


def check_size(engine: Docker | Buildah, target: str) -> None:
    """Print an image's size. Check the size and the contents of those that serve.

    Raises:
        AssertionError: if the image is too large or contains files that only a build needs.
    """
    size, base = engine.sizes(target)
    print(
        f"{target}: {size / 1e6:.0f} MB: base {base / 1e6:.0f} MB "
        f"and our layers {(size - base) / 1e6:.0f} MB; base image {engine.base}"
    )
    if target == "train":
        return
    assert size <= MAX_BYTES, f"at most {MAX_BYTES / 1e6:.0f} MB"
    assert size - base <= MAX_BYTES_WITHOUT_BASE, (
        f"at most {MAX_BYTES_WITHOUT_BASE / 1e6:.0f} MB without the base"
    )
    left = [path for path in engine.files(target) if BUILD_FILES.search(path)]
    left = [path for path in left if not path.startswith(DEBIAN_PATHS)]
    assert not left, f"left in the image: {left[:20]}"


def main() -> None:
    """Build, measure and run all images."""
    WORK.mkdir(parents=True, exist_ok=True)
    builder = engine()
    try:
        checks = {"serve": check_service, "lambda": check_lambda, "train": check_training}
        for target, check in checks.items():
            started = time.perf_counter()
            builder.build(target)
            seconds = time.perf_counter() - started
            print(f"{target} built with {type(builder).__name__} in {seconds:.0f} s", flush=True)
            check_size(builder, target)
            check(builder)
    finally:
        builder.close()
        (WORK / "pip.conf").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
