"""Settings from environment variables."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from ml.predictor import SHIPPED_MODEL


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings.model == SHIPPED_MODEL
    assert settings.threads >= 1


def test_empty_variables_count_as_unset() -> None:
    settings = Settings.from_environment(
        {
            "SKYSPOTTER_MODEL": "runs/latest/model.onnx",
            "SKYSPOTTER_THREADS": "3",
            "SKYSPOTTER_MAX_BODY_BYTES": "",
            "THREADS": "9",
        }
    )
    assert settings.model == Path("runs/latest/model.onnx")
    assert settings.threads == 3
    assert settings.max_body_bytes == 20_000_000


@pytest.mark.parametrize("variable", ["THREADS", "MAX_BODY_BYTES", "MAX_PIXELS"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_an_invalid_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(ValidationError, match=variable.lower()):
        Settings.from_environment({f"SKYSPOTTER_{variable}": value})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().threads = 5  # type: ignore[misc]
