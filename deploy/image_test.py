"""Build the images, start them as production would and send them a photo: `make image-test`.

Docker does it where its engine runs; else, as root on Debian, buildah and debootstrap do.
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

LIMIT, LIMIT_BEYOND_BASE = 300e6, 190e6  # bytes, uncompressed
LEFT_OVER = re.compile(
    r"/(pip[\d.]*|ensurepip|bin/(make|(.*-)?(gcc|g\+\+|cc|c\+\+|ld|strip)(-\d+)?))$"
    r"|/(\.cache|apt/lists|apt/archives)/.*\w$|\.(h|a|whl|deb|tar\.gz|pyi)$"
)
"""What only builds need."""
DEBIANS = ("/usr/lib/python3", "/usr/share/python-wheels")
"""Where the base that stands in for the official one has Debian's Python, which is not ours."""


def engine() -> Docker | Buildah:
    """The engine that works here; without one the program ends and says what is missing."""
    if shutil.which("docker"):
        info = ["docker", "info", "--format={{.ServerVersion}}"]
        if subprocess.run(info, capture_output=True).returncode == 0:
            return Docker()
    missing = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        sys.exit(
            "Cannot build an image here: no Docker engine answers, and to do without one takes "
            "root, buildah and debootstrap (on Debian: apt-get install buildah debootstrap)."
        )
    return Buildah()


def check_service(engine: Docker | Buildah) -> None:
    """Start the service, ask it about a photo, stop it.

    Raises:
        AssertionError: where an answer, or the end, is not as it should be.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    service = engine.start("serve", {"PORT": str(port)})
    try:
        health = wait_for_health(service, f"http://127.0.0.1:{port}/health")
        print(f"ready {time.perf_counter() - started:.2f} s after the start: {health}")
        engine.check_health(port)
        print("its own health check agrees")
        photo = drawing()
        client = HTTPConnection("127.0.0.1", port, timeout=30)
        client.putrequest("POST", "/predict")
        client.putheader("Content-Length", str(len(photo)))
        client.endheaders(photo[:1000])
        time.sleep(0.5)
        service.terminate()  # the request under way must still be answered
        time.sleep(0.5)
        client.send(photo[1000:])
        answer = json.load(client.getresponse())
        print(f"answered after SIGTERM: {answer}")
        assert answer["label"] in answer["probabilities"]
        service.wait(timeout=30)
        print("and ended")
    finally:
        service.kill()


def check_lambda(engine: Docker | Buildah) -> None:
    """Run the other image's entry point as Lambda does, and send it a photo as an event.

    Raises:
        AssertionError: where the answer is not as it should be.
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
    """Train for a moment, on pictures that the image draws itself.

    Raises:
        AssertionError: where it fails.
    """
    moment = ["train", "--epochs", "1", "--limit-data", "8", "--output", "/tmp/run"]
    training = engine.start("train", {}, *moment)
    try:
        assert training.wait(timeout=600) == 0, "its log above says why"
    finally:
        training.kill()


def drawing() -> bytes:
    """Draw a photo, as JPEG."""
    file = BytesIO()
    draw("Flying Birds", np.random.default_rng(1))[0].save(file, "JPEG")
    return file.getvalue()


def wait_for_health(service: subprocess.Popen[bytes], url: str) -> str:
    """Ask until the answer is 200; return it."""
    for _ in range(600):
        try:
            with urlopen(url, timeout=5) as response:
                return str(response.read().decode())
        except (URLError, ConnectionError):  # not there yet, or 503
            assert service.poll() is None, "the service ended; its log above says why"
            time.sleep(0.05)
    raise AssertionError("the service was not ready after 30 seconds")


def weigh(engine: Docker | Buildah, target: str) -> None:
    """Say how large an image is, and see that in those that serve nothing is left over.

    Raises:
        AssertionError
    """
    size, base = engine.sizes(target)
    print(
        f"{target}: {size / 1e6:.0f} MB, of which the base has {base / 1e6:.0f} MB "
        f"and ours are {(size - base) / 1e6:.0f} MB; the base is {engine.base}"
    )
    if target == "train":
        return
    assert size <= LIMIT, f"at most {LIMIT / 1e6:.0f} MB"
    assert size - base <= LIMIT_BEYOND_BASE, f"at most {LIMIT_BEYOND_BASE / 1e6:.0f} MB beyond base"
    left = [path for path in engine.files(target) if LEFT_OVER.search(path)]
    left = [path for path in left if not path.startswith(DEBIANS)]
    assert not left, f"left in the image: {left[:20]}"


def main() -> None:
    """Build, weigh and try."""
    WORK.mkdir(parents=True, exist_ok=True)
    builder = engine()
    try:
        checks = {"serve": check_service, "lambda": check_lambda, "train": check_training}
        for target, check in checks.items():
            started = time.perf_counter()
            builder.build(target)
            seconds = time.perf_counter() - started
            print(f"{target} built with {type(builder).__name__} in {seconds:.0f} s", flush=True)
            weigh(builder, target)
            check(builder)
    finally:
        builder.close()
        (WORK / "pip.conf").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
