"""The Lambda handler in its own process, run by AWS' runtime client."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from ml.predictor import Predictor
from tests.app.helpers import serving
from tests.app.lambda_events import (
    BOUNDARY,
    FORM,
    SENDERS,
    Event,
    api_gateway_v1,
    api_gateway_v2,
    form,
    function_url,
    load_balancer,
    padded,
)
from tests.app.runtime_api import RuntimeApi, TooLarge, lambda_function
from tests.helpers import ROOT, encoded, picture


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lambda") / "log"


@pytest.fixture(scope="module")
def function(log: Path) -> Iterator[RuntimeApi]:
    with lambda_function(log) as function:
        yield function


def content(answer: dict[str, Any]) -> bytes:
    """The body of a response, as the gateway forwards it."""
    body: str = answer["body"]
    return base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()


@pytest.mark.parametrize("sender", SENDERS)
def test_cold_and_warm_invocations_return_the_prediction_of_the_model(
    function: RuntimeApi, sender: Any, photo: bytes, shipped: Predictor
) -> None:
    for body, content_type in ((photo, "image/jpeg"), (form(photo), FORM)):
        answer = function.invoke(sender("POST", "/predict", body, content_type))
        assert answer["statusCode"] == 200
        assert json.loads(answer["body"])["probabilities"] == shipped.predict(photo).probabilities


def test_it_survives_hostile_photos_and_events(function: RuntimeApi, photo: bytes) -> None:
    def status(body: bytes) -> int:
        answer = function.invoke(function_url("POST", "/predict", body, "image/jpeg"))
        return int(answer["statusCode"])

    assert status(photo[: len(photo) // 2]) == 422
    assert status(b"a text") == 415
    assert status(b"") == 400
    # For an event that is not a request, the handler reports an error and goes on.
    assert function.result({"source": "aws.events"}).kind == "error"
    assert status(photo) == 200


@pytest.mark.parametrize("sender", SENDERS)
def test_a_body_over_the_limit_gets_a_413_of_the_service(
    function: RuntimeApi, sender: Any, photo: bytes
) -> None:
    most = padded(photo, 4_500_000)
    assert function.invoke(sender("POST", "/predict", most, "image/jpeg"))["statusCode"] == 200
    answer = function.invoke(sender("POST", "/predict", most + b"x", "image/jpeg"))
    assert answer["statusCode"] == 413
    body = json.loads(answer["body"])
    assert body["code"] == "body_too_large"
    assert "4.5 MB" in body["detail"]
    with pytest.raises(TooLarge):
        function.invoke(sender("POST", "/predict", padded(photo, 4_800_000), "image/jpeg"))


def test_the_largest_batch_is_answered(function: RuntimeApi, photo: bytes) -> None:
    part = form(photo).replace(b'name="file"', b'name="files"').removesuffix(b"--\r\n")
    parts = part.removesuffix(f"\r\n--{BOUNDARY}".encode()) + b"\r\n"
    body = parts * 32 + f"--{BOUNDARY}--\r\n".encode()
    answer = function.invoke(function_url("POST", "/predict/batch", body, FORM))
    assert answer["statusCode"] == 200
    assert [set(one) for one in json.loads(answer["body"])["results"]] == [
        {"filename", "prediction"}
    ] * 32


@pytest.mark.parametrize("evidence", ["grid", "png"])
def test_evidence_for_a_large_photo_fits(function: RuntimeApi, evidence: str) -> None:
    photo = encoded(picture().resize((6000, 6000)), "JPEG")
    event = function_url("POST", "/predict", photo, "image/jpeg")
    event["rawQueryString"] = f"evidence={evidence}"
    answer = function.invoke(event)  # Lambda rejects responses above 6 MB
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["evidence"]


def test_each_request_is_logged_once(function: RuntimeApi, log: Path) -> None:
    headers = {"x-request-id": "just-this-one"}
    event = function_url("GET", "/model", b"", "text/plain")
    event["headers"] |= headers
    answer = function.invoke(event)
    assert answer["headers"]["x-request-id"] == "just-this-one"
    assert log.read_text().count("just-this-one") == 1
    assert len(re.findall("model .* is served", log.read_text())) == 1


def test_an_internal_error_reveals_nothing(tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "broken.py").write_text(
        "import ml.predictor\n"
        "def fail(*_): raise RuntimeError('the password is swordfish')\n"
        "ml.predictor.network_input = fail\n"
        "from app.handler import handler\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with lambda_function(tmp_path / "log", "broken.handler", environment) as function:
        event = api_gateway_v2("POST", "/predict", photo, "image/jpeg")
        for _ in range(2):
            answer = function.invoke(event)
            assert answer["statusCode"] == 500
            body = json.loads(answer["body"])
            assert body["code"] == "internal_error"
            assert "swordfish" not in json.dumps(answer)
            log = (tmp_path / "log").read_text()
            assert body["request_id"] in log
            assert "the password is swordfish" in log


def custom_domain(method: str, path: str, body: bytes, content_type: str) -> Event:
    """A REST API under a base path of a custom domain, which stays in the path."""
    return api_gateway_v1(method, f"/prod{path}", body, content_type)


def named_stage(method: str, path: str, body: bytes, content_type: str) -> Event:
    """An HTTP API with a named stage, whose name stays in the path."""
    event = api_gateway_v2(method, f"/prod{path}", body, content_type)
    event["requestContext"]["stage"] = "prod"
    return event


def load_balancer_rule(method: str, path: str, body: bytes, content_type: str) -> Event:
    """A load balancer with a rule for `/prod/*`, which does not change the path."""
    return load_balancer(method, f"/prod{path}", body, content_type)


PREFIXED = [api_gateway_v1, custom_domain, named_stage, load_balancer_rule]


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeApi]:
    log = tmp_path_factory.mktemp("prefixed") / "log"
    with lambda_function(log, environment={"SKYSPOTTER_ROOT_PATH": "/prod"}) as function:
        yield function


@pytest.mark.parametrize("sender", PREFIXED)
def test_requests_behind_a_prefix(prefixed: RuntimeApi, sender: Any, photo: bytes) -> None:
    answer = prefixed.invoke(sender("POST", "/predict", photo, "image/jpeg"))
    assert answer["statusCode"] == 200
    answer = prefixed.invoke(sender("GET", "/nowhere", b"", "text/plain"))
    assert answer["statusCode"] == 404


@pytest.mark.parametrize("sender", PREFIXED)
def test_pages_arrive_byte_for_byte(prefixed: RuntimeApi, sender: Any) -> None:
    """Every text and picture of the pages is the same as over HTTP."""
    with serving(root_path="/prod") as client:
        paths = ["/docs", "/openapi.json", "/"]
        for page in ("/docs", "/"):
            names = re.findall(r"""(?:src|href)=["']([^"'?#]+)""", client.get(page).text)
            paths += [urljoin("/", name) for name in names if not name.startswith("http")]
        in_base64 = set()
        for path in paths:
            path = path.removeprefix("/prod")
            answer = prefixed.invoke(sender("GET", path, b"", "text/plain"))
            expected = client.get(path)
            assert answer["statusCode"] == expected.status_code == 200, path
            assert content(answer) == expected.content, path
            in_base64.add(answer["isBase64Encoded"])
        assert in_base64 == {True, False}  # pictures and texts
    assert '<base href="/prod/">' in prefixed.invoke(sender("GET", "/docs", b"", ""))["body"]
