import pytest

from ml.errors import ModelError
from ml.models.card import Card


def test_card_survives_a_model_file(card: Card) -> None:
    metadata = card.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert Card.from_metadata(metadata | {"somebody's own": "words"}) == card


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "not json"},
        {"classes": '["one"]'},
        {"temperature": "0"},
        {"preprocessing": '{"strategy": "squash"}'},
    ],
)
def test_a_senseless_card_is_refused(card: Card, change: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="no readable Skyspotter card"):
        Card.from_metadata(card.to_metadata() | change)


def test_a_foreign_file_is_refused() -> None:
    with pytest.raises(ModelError):
        Card.from_metadata({})
