"""The examples in the OpenAPI document agree with the schemas and with real responses."""

import re
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from app.examples import NOT_HEALTHY
from app.main import create_app
from app.schemas import Batch, Error, Health, ModelCard, Prediction
from app.settings import Settings
from ml.models.probability import probabilities

SCHEMAS: dict[str, type[BaseModel]] = {
    "/predict": Prediction,
    "/predict/batch": Batch,
    "/model": ModelCard,
    "/health": Health,
}


def test_examples_fit_their_schemas(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, answer in SCHEMAS.items():
        (example,) = schemas[answer.__name__]["examples"]
        answer.model_validate(example, extra="forbid")
        for operation in document["paths"][path].values():
            for status, response in operation["responses"].items():
                content = response["content"]["application/json"]
                examples = content.get("examples", {})
                if status == "200" or path == "/health":
                    for example in examples.values():
                        answer.model_validate(example["value"], extra="forbid")
                    continue
                for code, example in examples.items():
                    assert Error.model_validate(example["value"], extra="forbid").code == code
                codes = re.findall(r"`(\w+)`", response.get("description", ""))
                assert set(examples) == set(codes), (path, status)


def test_named_examples(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, method, status, names in (
        ("/predict", "post", "200", {"plain", "not_sure", "grid", "png"}),
        ("/health", "get", "503", {"starting", "failed"}),
    ):
        content = paths[path][method]["responses"][status]["content"]["application/json"]
        assert set(content["examples"]) == names
        assert "$ref" in content["schema"]


def test_examples_agree_with_each_other(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    (card,) = document["components"]["schemas"]["ModelCard"]["examples"]
    response = document["paths"]["/predict"]["post"]["responses"]["200"]
    named = response["content"]["application/json"]["examples"]
    for name, example in named.items():
        answer = example["value"]
        chances = answer["probabilities"]
        assert list(chances) == card["classes"], name
        assert sum(chances.values()) == pytest.approx(1, abs=1e-9)
        assert answer["confidence"] == chances[answer["label"]] == max(chances.values())
        assert answer["accepted"] == (answer["confidence"] >= card["threshold"])
        assert answer["model"] == {key: card[key] for key in ("name", "version")}
    answer = named["grid"]["value"]
    logits = np.array(list(answer["evidence"]["logits"].values()))
    spoken = probabilities(logits, card["temperature"])
    np.testing.assert_allclose(list(answer["probabilities"].values()), spoken, atol=5e-4)


def test_health_examples_are_the_real_responses(tmp_path: Path) -> None:
    examples = NOT_HEALTHY["content"]["application/json"]["examples"]
    app = create_app(Settings(model=tmp_path / "none.onnx"))
    for name in ("starting", "failed"):
        answer = TestClient(app).get("/health")
        assert (answer.status_code, answer.json()) == (503, examples[name]["value"])
        app.state.service.inference.load()
