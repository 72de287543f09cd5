import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from app.examples import BATCH_EXAMPLE, ERROR_EXAMPLES, NOT_HEALTHY
from app.main import create_app
from app.routes.pages import DOCS_POLICY, PAGE, PAGE_POLICY
from app.schemas import Batch, Error, Health, ModelCard, Prediction
from app.settings import Settings
from ml.models.probability import probabilities
from tests.app.helpers import serving
from tests.helpers import png

FILES = sorted(PAGE.iterdir())
ANSWERS: dict[str, type[BaseModel]] = {
    "/predict": Prediction,
    "/predict/batch": Batch,
    "/model": ModelCard,
    "/health": Health,
}


def test_the_page_is_small_and_asks_nobody_else() -> None:
    assert sum(file.stat().st_size for file in FILES) < 60_000
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        addresses = set(re.findall(r"\w+://[^\s\"'`)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file.name
        assert not re.search(r"""(?:src|href)=["']/""", text), "would leave ROOT_PATH"


@pytest.mark.parametrize(("path", "policy"), [("/", PAGE_POLICY), ("/docs", DOCS_POLICY)])
def test_pages_with_a_strict_policy(client: TestClient, path: str, policy: str) -> None:
    response = client.get(path)
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Content-Security-Policy"] == policy
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", response.text)
    assert "<base" not in response.text
    assert client.head(path).status_code == 200
    for name in re.findall(r'(?:src|href)="(page/[^"]+)"', response.text):
        assert client.get(f"/{name}").status_code == 200


@pytest.mark.parametrize("name", ["style.css", "page.js", "swagger-ui-bundle.js"])
def test_files_are_sent_once(client: TestClient, name: str) -> None:
    first = client.get(f"/page/{name}")
    assert re.match("text/(css|javascript)", first.headers["Content-Type"])
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    again = client.get(f"/page/{name}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Fweb.py", "%2Fetc%2Fpasswd", "a%00b", ".", "x" * 300]
)
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    response = client.get(f"/page/{name}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_prefix_is_told_to_the_browser_and_cannot_break_out() -> None:
    with serving(root_path="/prod") as client:
        for path in ("/", "/docs"):
            assert '<base href="/prod/">' in client.get(path).text
        assert client.get("/page/page.js").status_code == 200
    with serving(root_path='/"><script>') as client:
        assert "<script>" not in client.get("/").text


def test_examples_are_answers_as_they_come(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, answer in ANSWERS.items():
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


def test_examples_of_every_answer_have_names(client: TestClient) -> None:
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


def test_documented_errors_are_the_real_sentences(
    client: TestClient, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detail(to: TestClient, route: str = "/predict", **request: Any) -> str:
        answer = to.post(route, **request).json()
        said[answer["code"]] = answer["detail"]
        return str(answer["detail"])

    said: dict[str, str] = {}
    detail(client, files={"other": photo})
    detail(client, content=b"a text")
    detail(client, content=photo[: len(photo) // 2])
    detail(client, content=png(9_000, 6_000))
    detail(client, content=bytes(20_000_001))
    detail(client, content=photo, params={"top_k": 0})
    detail(client, "/predict/batch", files=[("files", photo)] * 33)
    detail(TestClient(create_app(Settings())), content=photo)  # the model is never loaded
    with serving(api_keys=("right",)) as locked:
        detail(locked, content=photo)
    with serving(timeout_seconds=0.001) as hasty:
        late = detail(hasty, content=photo)
        said["timed_out"] = late.replace("0.001 seconds", "30 seconds")
    with serving() as full:
        monkeypatch.setattr(full.app.state.service.admission, "places", 0)  # type: ignore[attr-defined]
        detail(full, content=photo)
    with serving() as broken:
        monkeypatch.setattr("ml.predictor.network_input", None)
        detail(broken, content=photo)
    assert said == ERROR_EXAMPLES
    assert BATCH_EXAMPLE["results"][1]["error"]["detail"] == said["unsupported_format"]  # type: ignore[index,call-overload]


def test_documented_states_are_the_real_ones(tmp_path: Path) -> None:
    examples = NOT_HEALTHY["content"]["application/json"]["examples"]
    app = create_app(Settings(model=tmp_path / "none.onnx"))
    for name in ("starting", "failed"):
        answer = TestClient(app).get("/health")
        assert (answer.status_code, answer.json()) == (503, examples[name]["value"])
        app.state.service.inference.load()
