"""deploy/lambda/template.yaml is valid for CloudFormation and uses existing settings."""

import re
import subprocess
import sys
from pathlib import Path

from app.settings import PREFIX, Settings

TEMPLATE = Path(__file__).resolve().parents[1] / "deploy" / "lambda" / "template.yaml"


def lint(template: Path) -> str:
    """The output of cfn-lint, empty if there are no problems."""
    command = [Path(sys.executable).with_name("cfn-lint"), template]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_cfn_lint_finds_no_problems(tmp_path: Path) -> None:
    assert lint(TEMPLATE) == ""
    wrong = tmp_path / "template.yaml"
    wrong.write_text(TEMPLATE.read_text().replace("MemorySize:", "MemorySise:"))
    assert "MemorySise" in lint(wrong)


def test_its_variables_are_existing_settings() -> None:
    named = re.findall(rf"{PREFIX}(\w+):", TEMPLATE.read_text())
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)
