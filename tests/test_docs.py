"""What the documentation says must be true."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.errors import ERRORS
from app.metrics import Metrics
from app.schemas import Prediction
from app.settings import PREFIX, Settings
from ml.cli.main import cli
from tests.helpers import README, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS: dict[str, Any] = get_command(cli).commands  # type: ignore[attr-defined]
README_WORDS = 900

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def table(text: str, columns: int) -> list[list[str]]:
    """The rows of all tables with this number of columns."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return [row for row in rows if len(row) == columns]


def code(text: str) -> Iterator[str]:
    """Every command line that a page shows: the lines of its code blocks, and inline code."""
    for language, block in FENCE.findall(text):
        if language == "sh":
            yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def test_settings_table_matches_the_settings() -> None:
    rows = {
        name.strip("`").removeprefix(PREFIX).lower(): (default, meaning)
        for name, default, meaning in table(read("docs/settings.md"), 3)
        if name.startswith(f"`{PREFIX}")
    }
    assert set(rows) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, meaning = rows[name]
        assert meaning == field.description
        if field.default_factory is None:
            # 30 for 30.0, and only the end of a path, whose start depends on the machine.
            documented = default.strip("`")
            assert str(field.default or "none").removesuffix(".0").endswith(documented), name


def test_error_table_matches_the_registry() -> None:
    rows = {
        (int(status), code.strip("`")): example.strip("`")
        for status, code, _, example in table(read("docs/api.md"), 4)
        if status.isdecimal()
    }
    # Clients never receive 499: it stands for a client that has disconnected.
    errors = {(e.status, e.code): e.example.replace("`", "") for e in ERRORS if e.status != 499}
    assert {key: text.replace("`", "") for key, text in rows.items()} == errors


def test_metrics_table_matches_the_metrics() -> None:
    rows = {
        (name.strip("`"), kind)
        for name, kind, _ in table(read("docs/operations.md"), 3)
        if name.startswith("`skyspotter_")
    }
    types = re.findall(r"^# TYPE (skyspotter_\w+) (\w+)$", Metrics().text().decode(), re.MULTILINE)
    assert rows == {(name, kind) for name, kind in types if not name.endswith("_created")}


def test_training_options_table_matches_the_command() -> None:
    rows = {
        option.strip("`"): (default.strip("`"), meaning)
        for option, default, meaning in table(read("docs/training.md"), 3)
        if option.startswith("`--")
    }
    options = {
        name: ("none" if p.default is None else str(p.default), p.help)
        for name, p in visible_options("train").items()
    }
    assert rows == options


def test_example_response_is_a_prediction() -> None:
    (example,) = re.findall(r"<!-- example -->\n```json\n(.*?)```", README, re.DOTALL)
    Prediction.model_validate(json.loads(example), strict=True, extra="forbid")


def test_readme_is_short() -> None:
    assert len(README.split()) <= README_WORDS


def test_readme_names_its_two_commands_once() -> None:
    shell = "".join(block for language, block in FENCE.findall(README) if language == "sh")
    lines = [line.split("#")[0].strip() for line in shell.splitlines()]
    assert lines.count("make serve") == lines.count("make test") == 1


@each_page
def test_links_and_file_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"
    rooms = "app|ml|weights|tests|docs|deploy|benchmarks"
    for path in re.findall(rf"(?<![\w/.-])(?:{rooms})/[\w./-]+\.[a-z]\w*", text):
        assert (ROOT / path).exists(), path


def anchors(text: str) -> set[str]:
    """The names by which GitHub links to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    lines = code(page.read_text(encoding="utf-8"))
    named = {name for line in lines for name in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    assert named <= targets


@each_page
def test_commands_and_their_options_exist(page: Path) -> None:
    for line in code(page.read_text(encoding="utf-8")):
        called = re.search(r"(?:^|\.venv/bin/)skyspotter ([a-z]+)(.*)|-m ml ([a-z]+)(.*)", line)
        short = re.match(r"([a-z]+)( --.*)", line)  # as in `evaluate --by COLUMN`
        if called:
            name, rest = called[1] or called[3], called[2] or called[4] or ""
            assert name in COMMANDS, line
        elif short and short[1] in COMMANDS:
            name, rest = short[1], short[2]
        else:
            continue
        assert options(rest) <= {"--help", *visible_options(name)}, line


@each_page
def test_options_of_scripts_exist(page: Path) -> None:
    for line in code(page.read_text(encoding="utf-8")):
        if script := re.search(r"python ((?:benchmarks|weights)/\w+\.py)(.*)", line):
            source = read(script[1])
            for option in options(script[2]):
                # typer makes the option from the parameter's name
                assert f'"{option}"' in source or f"{option[2:]}: " in source, line


def test_options_of_the_server_exist() -> None:
    source = read("app/server/cli.py")
    for page in PAGES:
        for line in code(page.read_text(encoding="utf-8")):
            if server := re.search(r"-m app( .*)", line):
                assert all(f'"{option}"' in source for option in options(server[1]) - {"--help"}), (
                    line
                )


def options(line: str) -> set[str]:
    """The long options of a command line, up to a comment, a pipe or a redirection."""
    words = re.split(r" [#|>&]", line)[0].split()
    return {word.split("=")[0] for word in words if word.startswith("--")}


def visible_options(name: str) -> dict[str, Any]:
    """The options that `--help` of a command shows."""
    parameters = COMMANDS[name].params
    visible = [p for p in parameters if p.opts[0].startswith("--") and not p.hidden]
    return {p.opts[0]: p for p in visible}


def test_tree_in_architecture_is_the_tree_on_disk() -> None:
    (tree,) = [block for _, block in FENCE.findall(read("ARCHITECTURE.md")) if "app/" in block]
    on_disk = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for package in ("app", "ml")
        for path in (ROOT / package).rglob("*.py")
        if not path.name.startswith("__")
    }
    assert sorted(modules(tree)) == sorted(on_disk)
    folders = {line.split()[0].strip("/") for line in tree.splitlines() if "/ " in line[:24]}
    assert folders >= {module.split("/")[-2] for module in on_disk}


def modules(tree: str) -> Iterator[str]:
    """The modules that the tree lists: `name, name   what` or `package/   what: name, name`."""
    package = ""
    for line in re.sub(r"\n {8,}", " ", tree).splitlines():
        name, _, what = line.strip().partition("  ")
        if not line.startswith(" "):
            package = name.rstrip("/")
        elif not name.endswith("/"):
            yield from (f"{package}/{module}" for module in name.split(", "))
        elif (ROOT / package / name / "__init__.py").exists():
            yield from (f"{package}/{name}{m.strip()}" for m in what.rpartition(": ")[2].split(","))
