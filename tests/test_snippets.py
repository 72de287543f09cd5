"""The README's commands and snippets, run as they stand there against a real service."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ml.predictor import Predictor
from tests.app.helpers import running
from tests.helpers import README

LANGUAGES = {"sh": ["bash", "-c"], "python": [sys.executable, "-c"], "js": ["node", "-e"]}
ADDRESS = "http://127.0.0.1:8000"


def snippets(language: str) -> list[str]:
    """Those that send a photo."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if f"{ADDRESS}/predict" in block]


@pytest.mark.parametrize("language", LANGUAGES)
def test_snippets_run(language: str, photo: bytes, tmp_path: Path, shipped: Predictor) -> None:
    if not shutil.which(LANGUAGES[language][0]):
        pytest.skip(f"{LANGUAGES[language][0]} is not installed")
    (tmp_path / "photo.jpg").write_bytes(photo)
    found = snippets(language)
    assert found
    with running("app", log=tmp_path / "log") as (address, _):
        for snippet in found:
            command = [*LANGUAGES[language], snippet.replace(ADDRESS, address)]
            run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert run.returncode == 0, run.stderr
            answer = shipped.predict(photo)
            times = 2 if language == "sh" else 1
            assert run.stdout.count(f"{answer.confidence}"[:12]) >= times
