import json

import pytest

from ml.errors import ModelError
from ml.images.preprocessing import Preprocessing
from ml.models.card import Card
from ml.models.onnx_file import read_metadata
from ml.predictor import SHIPPED_MODEL


def test_a_card_is_read_as_it_was_written(card: Card) -> None:
    metadata = card.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert Card.from_metadata(metadata | {"another program's key": "words"}) == card


@pytest.mark.parametrize("suffix", [".onnx", ".int8.onnx"])
def test_the_shipped_cards_are_written_as_they_were_read(suffix: str) -> None:
    stored = read_metadata(SHIPPED_MODEL.with_suffix(suffix))
    of_the_card = {name: text for name, text in stored.items() if name in Card.model_fields}
    assert Card.from_metadata(stored).to_metadata() == of_the_card


def test_the_key_of_the_grid_is_views_in_files_and_json(card: Card) -> None:
    changed = card.with_grid(3)
    assert changed.preprocessing.grid == 3
    assert json.loads(changed.to_metadata()["preprocessing"])["views"] == 3
    assert Card.from_metadata(changed.to_metadata()) == changed
    for key in ("views", "grid"):
        assert Preprocessing.model_validate({key: 3}) == Preprocessing(grid=3)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "not json"},
        {"classes": '["one"]'},
        {"temperature": "0"},
        {"preprocessing": '{"strategy": "squash"}'},
        {"preprocessing": '{"views": 6}'},
        {"preprocessing": '{"unknown": 1}'},
    ],
)
def test_an_invalid_card_is_refused(card: Card, change: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="has no readable Skyspotter card"):
        Card.from_metadata(card.to_metadata() | change)


def test_a_file_without_a_card_is_refused() -> None:
    with pytest.raises(ModelError):
        Card.from_metadata({})
