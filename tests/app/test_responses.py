"""Evidence in the responses of `/predict`, with the shipped network."""

import shutil
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from ml.engines.loader import int8_beside
from ml.evidence import grid, overlay
from ml.export.onnx import stamp
from ml.images.preprocessing import Preprocessing, boxes
from ml.models.card import Card
from ml.models.onnx_file import read_metadata
from ml.models.probability import probabilities
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.app.helpers import serving
from tests.helpers import encoded, picture

PHOTOS = {
    "landscape": (640, 400),
    "portrait": (300, 420),
    "tiny": (20, 15),
    "strip": (900, 8),
    "large": (2400, 1600),
}


@pytest.fixture(
    scope="module",
    params=[
        Preprocessing(),
        Preprocessing(grid=2),
        Preprocessing(strategy="native"),
        Preprocessing(strategy="native", grid=3),
    ],
    ids=lambda it: f"{it.strategy}-{it.grid}",
)
def service(
    request: pytest.FixtureRequest, shipped: Predictor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestClient, Predictor]]:
    """A service and a predictor with the shipped network and different preprocessing."""
    model = tmp_path_factory.mktemp("model") / "model.onnx"
    shutil.copy(SHIPPED_MODEL, model)
    stamp(model, shipped.card.model_copy(update={"preprocessing": request.param}))
    with serving(model=model) as client:
        yield client, Predictor(model)


def ask(client: TestClient, photo: bytes, kind: str) -> dict[str, Any]:
    response = client.post("/predict", params={"evidence": kind}, content=photo)
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("size", PHOTOS.values(), ids=PHOTOS)
def test_the_mean_of_the_grid_is_the_logit(
    service: tuple[TestClient, Predictor], size: tuple[int, int]
) -> None:
    client, predictor = service
    photo = encoded(picture().resize(size), "PNG")
    answer, expected = ask(client, photo, "grid"), predictor.predict(photo)
    sent = answer["evidence"]
    assert list(sent["values"]) == list(sent["logits"]) == list(predictor.card.classes)
    values = np.array(list(sent["values"].values()))
    assert values.shape == (4, sent["rows"], sent["columns"])
    logits = np.array(list(sent["logits"].values()))
    np.testing.assert_allclose(values.mean(axis=(1, 2)), logits, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(logits, expected.logits)
    assert values.std(axis=(1, 2)).min() > 0.05, "the cells must differ for this to say anything"
    spoken = probabilities(logits, predictor.card.temperature)
    np.testing.assert_allclose(list(answer["probabilities"].values()), spoken, atol=1e-9)
    views = np.array(boxes(*size, predictor.card.preprocessing))
    assert sent["views"] == views.tolist()
    cell = (views[0, 2] - views[0, 0]) / 7
    seen = np.array([*views[:, :2].min(axis=0), *views[:, 2:].max(axis=0)])
    np.testing.assert_allclose(sent["region"], seen - cell / 2)


@pytest.mark.parametrize("size", PHOTOS.values(), ids=PHOTOS)
def test_the_picture_matches_the_photo_and_the_grid(
    service: tuple[TestClient, Predictor], size: tuple[int, int]
) -> None:
    client, _ = service
    photo = encoded(picture().resize(size), "PNG")
    pixels = opened(ask(client, photo, "png"))
    answer = ask(client, photo, "grid")
    height, width = pixels.shape[:2]
    scale = min(1, 1024 / max(size))
    assert (width, height) == tuple(max(1, round(side * scale)) for side in size)
    left, top, right, bottom = answer["evidence"]["region"]
    x = (np.arange(width) + 0.5) * size[0] / width
    y = (np.arange(height) + 0.5) * size[1] / height
    outside = np.ones((height, width), dtype=bool)
    for x0, y0, x1, y1 in answer["evidence"]["views"]:
        outside &= ~(((x0 <= x) & (x <= x1))[None] & ((y0 <= y) & (y <= y1))[:, None])
    alpha = pixels[:, :, 3]
    assert not alpha[outside].any()
    cells = np.array(answer["evidence"]["values"][answer["label"]])
    columns = np.clip((x - left) / (right - left) * cells.shape[1], 0, cells.shape[1] - 1e-9)
    rows = np.clip((y - top) / (bottom - top) * cells.shape[0], 0, cells.shape[0] - 1e-9)
    strength = abs(cells[np.ix_(rows.astype(int), columns.astype(int))])
    strength[outside] = 0
    if min(size) < 100:  # smaller than a cell, so no whole cell is visible
        assert alpha.any()
        return
    values = np.array(list(answer["evidence"]["values"].values()))
    strongest = abs(values).max()  # of all classes, which sets the scale
    assert alpha.max() == pytest.approx(230 * strength.max() / strongest, abs=4)
    peaks = strength[alpha == alpha.max()]  # the pixels with the largest opacity
    assert peaks.max() == strength.max()
    assert peaks.min() > strength.max() - 0.03 * strongest


def opened(answer: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The picture of a response, (height, width, 4)."""
    start, content = answer["evidence"].split(",")
    assert start == "data:image/png;base64"
    with Image.open(BytesIO(b64decode(content))) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGBA"))


@pytest.fixture(scope="module", params=[1, 3], ids=["one-view", "nine-views"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network in both precisions, with a grid of this many crops on each side."""
    model = tmp_path_factory.mktemp("models") / "model.onnx"
    for suffix in (".safetensors", ".onnx", ".int8.onnx"):
        shutil.copy(SHIPPED_MODEL.with_suffix(suffix), model.with_suffix(suffix))
    for file in (model, int8_beside(model)):
        stamp(file, Card.from_metadata(read_metadata(file)).with_grid(request.param))
    return model


@pytest.fixture(
    scope="module",
    params=[
        ("onnxruntime", "float32"),
        ("onnxruntime", "int8"),
        ("openvino", "float32"),
        ("openvino", "int8"),
        ("torch", "float32"),
    ],
    ids="-".join,
)
def engine(request: pytest.FixtureRequest, models: Path) -> Iterator[tuple[TestClient, Predictor]]:
    """A service with each engine and precision, and its predictor."""
    name, precision = request.param
    pytest.importorskip(name)
    with serving(model=models, engine=name, precision=precision) as client:
        if precision == "int8" and client.get("/health").status_code == 503:
            pytest.skip("int8 is inaccurate on this machine, so the service rejects it")
        card = client.get("/model").json()
        assert (card["engine"], card["precision"]) == request.param
        yield client, client.app.state.service.inference.predictor()  # type: ignore[attr-defined]


def test_every_engine_sends_its_own_evidence(
    engine: tuple[TestClient, Predictor], photo: bytes
) -> None:
    client, predictor = engine
    expected = predictor.predict(photo)
    assert len(expected.evidence) == predictor.card.preprocessing.grid**2
    remainder = expected.evidence.mean(axis=(0, 2, 3)) - expected.logits
    assert abs(remainder).max() < 1e-4, "before ml/evidence.py spreads it"
    answer = ask(client, photo, "grid")
    sent = np.array(list(answer["evidence"]["values"].values()))
    logits = np.array(list(answer["evidence"]["logits"].values()))
    np.testing.assert_allclose(sent.mean(axis=(1, 2)), logits, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(logits, expected.logits)
    assert sent.std(axis=(1, 2)).min() > 0.05, "the cells must differ for this to say anything"
    merged = grid(expected)
    if len(expected.evidence) == 1:
        np.testing.assert_allclose(merged.values, expected.evidence[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(sent, merged.values, rtol=0, atol=1e-5)
    drawn = overlay(
        merged.values[list(predictor.card.classes).index(answer["label"])],
        merged.region,
        (expected.photo.width, expected.photo.height),
        views=expected.boxes,
        strongest=float(abs(merged.values).max()),
    )
    steps = opened(ask(client, photo, "png"))[..., 3] - np.asarray(drawn.convert("RGBA"))[..., 3]
    assert abs(steps.astype(np.int8)).max() <= 2


@pytest.mark.parametrize("kind", ["grid", "png"])
def test_the_evidence_of_a_rotated_photo_is_upright(client: TestClient, kind: str) -> None:
    upright = picture().resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns the photo clockwise
    rotated = encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    turned, plain = ask(client, rotated, kind), ask(client, encoded(upright, "PNG"), kind)
    assert turned["image"]["width"] == 400
    assert (turned["image"]["orientation"], plain["image"]["orientation"]) == (6, 1)
    assert turned["evidence"] == plain["evidence"]


def test_none_is_the_default(client: TestClient, photo: bytes) -> None:
    assert ask(client, photo, "none")["evidence"] is None
    assert client.post("/predict", content=photo).json()["evidence"] is None


def test_an_unknown_kind_is_rejected(client: TestClient, photo: bytes) -> None:
    response = client.post("/predict", params={"evidence": "svg"}, content=photo)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert "evidence" in response.json()["detail"]
    assert "'grid'" in response.json()["detail"]


def test_openapi_shows_both_forms(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schema = document["components"]["schemas"]["Prediction"]["properties"]["evidence"]
    grid, overlay, none = schema["anyOf"]
    example = document["components"]["schemas"][grid["$ref"].split("/")[-1]]["examples"][0]
    assert {name: np.mean(cells) for name, cells in example["values"].items()} == example["logits"]
    assert overlay["examples"][0].startswith("data:image/png;base64,")
    assert none == {"type": "null"}
