"""The error registry: importing it is cheap, and its examples are real sentences."""

import subprocess
import sys
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.errors import ERRORS, ClientDisconnected, RequestError, error_body, from_image_error
from app.main import create_app
from app.settings import Settings
from ml.errors import ImageError
from tests.app.helpers import connect, listening, received, serving
from tests.helpers import ROOT
from tests.image_files import png


def test_importing_the_registry_loads_nothing_heavy() -> None:
    heavy = {"fastapi", "prometheus_client", "PIL", "numpy", "onnxruntime", "ml.predictor"}
    code = f"import sys, app.errors; print(*({heavy!r} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


def test_errors_are_complete_sorted_and_have_unique_codes() -> None:
    assert [(error.status, error.code) for error in ERRORS] == sorted(
        {(error.status, error.code) for error in ERRORS}
    )
    assert len({error.code for error in ERRORS}) == len(ERRORS)
    for error in ERRORS:
        assert error.__doc__
        assert error.example.endswith(".")
        assert error_body(error(), "id") == {
            "detail": error.example,
            "code": error.code,
            "request_id": "id",
        }


def test_every_image_error_has_a_code() -> None:
    kinds = ImageError.__subclasses__()
    assert len(kinds) >= 4
    for kind in kinds:
        error = from_image_error(kind("Why."))
        assert type(error) in ERRORS
        assert str(error) == "Why."


def test_examples_are_the_real_sentences(
    client: TestClient, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detail(to: TestClient, route: str = "/predict", **request: Any) -> str:
        answer = to.post(route, **request).json()
        sentences[answer["code"]] = answer["detail"]
        return str(answer["detail"])

    sentences: dict[str, str] = {}
    detail(client, files={"other": photo})
    detail(client, content=b"a text")
    detail(client, content=photo[: len(photo) // 2])
    detail(client, content=png(9_000, 6_000))
    detail(client, content=bytes(20_000_001))
    detail(client, content=photo, params={"top_k": 0})
    detail(client, "/nowhere")
    detail(client, "/health")
    detail(client, "/predict/batch", files=[("files", photo)] * 33)
    detail(TestClient(create_app(Settings())), content=photo)  # the model is never loaded
    with serving(api_keys=("right",)) as locked:
        detail(locked, content=photo)
    with serving(timeout_seconds=0.001) as impatient:
        late = detail(impatient, content=photo)
        sentences["timed_out"] = late.replace("0.001 seconds", "30 seconds")
    with serving() as full:
        admission = full.app.state.service.admission  # type: ignore[attr-defined]
        monkeypatch.setattr(admission, "max_requests", 0)
        detail(full, content=photo)
    with serving() as broken:
        monkeypatch.setattr("ml.predictor.network_input", None)
        detail(broken, content=photo)
    assert sentences | malformed_request() == documented({ClientDisconnected})


def malformed_request() -> dict[str, str]:
    """The code and the sentence for a request that is not HTTP."""
    with listening() as service, connect(service.address) as connection:
        connection.sendall(b"not HTTP\r\n\r\n")
        body = received(connection)
    for error in ERRORS:
        if error.example.encode() in body and f'"{error.code}"'.encode() in body:
            return {error.code: error.example}
    return {"unknown": body.decode()}


def documented(without: set[type[RequestError]]) -> dict[str, str]:
    return {error.code: error.example for error in ERRORS if error not in without}
