"""The snippets of the documentation that send photos, run against a real service."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ml.predictor import Predictor
from tests.app.helpers import running
from tests.helpers import README, ROOT

LANGUAGES = {"sh": ["bash", "-c"], "python": [sys.executable, "-c"], "js": ["node", "-e"]}
ADDRESS = "http://127.0.0.1:8000"
TEXT = README + (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def snippets(language: str) -> list[str]:
    """The snippets of a language that send a photo."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if f"{ADDRESS}/predict" in block]


@pytest.mark.parametrize("language", LANGUAGES)
def test_snippets_run(language: str, photo: bytes, tmp_path: Path, shipped: Predictor) -> None:
    if not shutil.which(LANGUAGES[language][0]):
        pytest.skip(f"{LANGUAGES[language][0]} is not installed")
    for name in ("photo.jpg", "one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes(photo)
    found = snippets(language)
    assert found
    with running("app", log=tmp_path / "log") as (address, _):
        for snippet in found:
            command = [*LANGUAGES[language], snippet.replace(ADDRESS, address)]
            run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert run.returncode == 0, run.stderr
            confidence = f"{shipped.predict(photo).confidence}"[:12]
            assert run.stdout.count(confidence) >= max(1, snippet.count("@"))
