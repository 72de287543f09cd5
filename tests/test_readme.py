"""What the documentation says must be so."""

import json
import re

import pytest

from app.schemas import Prediction
from app.settings import PREFIX, Settings
from tests.helpers import README, ROOT


def test_table_of_settings_is_the_settings() -> None:
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    documented = {name.lower(): (default.strip("` "), meaning) for name, default, meaning in rows}
    assert set(documented) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, meaning = documented[name]
        assert meaning == field.description
        if field.default_factory is None:
            # 30 for 30.0, and only the end of a path, whose start differs from house to house.
            assert str(field.default or "none").removesuffix(".0").endswith(default), name


def test_example_answer_is_a_prediction() -> None:
    (example,) = re.findall(r"<!-- example -->\n```json\n(.*?)```", README, re.DOTALL)
    Prediction.model_validate(json.loads(example), strict=True, extra="forbid")


def test_table_of_errors_is_the_services() -> None:
    documented = {
        code
        for row in re.findall(r"^\| \d{3}[, \d]* \|(.*?)\|", README, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", row)
    }
    files = [ROOT / "app" / name for name in ("errors.py", "server/protocol.py")]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    raised = set(re.findall(r'(?:\d{3}[,:] \(?|"code": )"(\w+)"', source))
    assert documented == raised - {"client_gone"}  # which nobody reads


@pytest.mark.parametrize(
    "name",
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "weights/README.md", "deploy/README.md"],
)
def test_links_and_file_names_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    files = re.findall(r"`((?:app|ml|weights|tests)/[\w./]+\.\w+)(?::\w+)?`", text)
    for path in links:
        assert ((ROOT / name).parent / path).exists(), path
    for path in files:
        assert (ROOT / path).exists(), path


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)(?:SKYSPOTTER_\S+ )?make ([a-z]+)", text, re.MULTILINE))
        assert named <= targets
