"""The Lambda handler, called directly with events as AWS sends them."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from app.handler import handler
from ml.predictor import Predictor
from tests.app.lambda_events import BOUNDARY, SENDERS, form

# Lambda passes a context beside the event; Mangum only forwards it.
CONTEXT: Any = SimpleNamespace(
    function_name="skyspotter", aws_request_id="8f507cfc-xmpl-4697-b07a-ac58fc914c95"
)


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("as_form", [True, False])
def test_a_photo_is_predicted(sender: Any, as_form: bool, photo: bytes, shipped: Predictor) -> None:
    body = form(photo) if as_form else photo
    content_type = f"multipart/form-data; boundary={BOUNDARY}" if as_form else "image/jpeg"
    answer = handler(sender("POST", "/predict", body, content_type), CONTEXT)
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is False
    prediction = json.loads(answer["body"])
    assert prediction["probabilities"] == shipped.predict(photo).probabilities


@pytest.mark.parametrize("sender", SENDERS)
def test_errors_are_plain_json(sender: Any) -> None:
    answer = handler(sender("POST", "/predict", b"a text", "image/jpeg"), CONTEXT)
    assert answer["statusCode"] == 415
    assert json.loads(answer["body"])["code"] == "unsupported_format"


@pytest.mark.parametrize("sender", SENDERS)
def test_the_model_is_loaded_without_a_lifespan(sender: Any) -> None:
    answer = handler(sender("GET", "/health", b"", "text/plain"), CONTEXT)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["status"] == "ok"
