"""Describe an image folder or a model file, as text or JSON."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.data.checks import warnings
from ml.data.image_folder import ImageFolder, scan
from ml.data.split import split_folder
from ml.errors import listing, plural
from ml.models.card import Card, Split
from ml.models.onnx_file import read_metadata

MOST_CLASSES = 50  # in a table
MOST_FILES = 20  # in a table
SPLITS = ("train", "validation", "test")
# The metrics that a table shows, and their formats.
METRICS = {
    "photos": "{}",
    "accuracy": "{:.2%}",
    "loss": "{:.3f}",
    "calibration_error": "{:.2%}",
    "coverage": "{:.1%}",
    "accepted_accuracy": "{:.2%}",
}


def inspect(path: Path, as_json: bool, console: Console) -> None:
    """Print a description of an image folder, a model file or the model of a run folder.

    Raises:
        DataError: if an image folder cannot be used.
        ModelError: if a model file is missing or damaged.
    """
    file = path / "model.onnx" if (path / "model.onnx").is_file() else path
    if file.is_dir():
        folder = split_folder(scan(file), Split())
        if as_json:
            console.print_json(data=folder_facts(folder))
        else:
            show_folder(folder, console)
    elif as_json:
        console.print_json(data=_read_card(file).model_dump(mode="json"))
    else:
        show_model(_read_card(file), file, console)


def folder_facts(folder: ImageFolder) -> dict[str, Any]:
    """Return the content of `data.json` for a folder, with its formats and warnings."""
    formats = dict(Counter(sample.format for sample in folder.samples).most_common())
    return folder.summary() | {"formats": formats, "warnings": warnings(folder)}


def show_folder(folder: ImageFolder, console: Console) -> None:
    """Print counts, sizes, dropped files with reasons, near-duplicates and warnings."""
    facts = folder_facts(folder)
    dropped = Counter(file.label for file in folder.dropped)
    counts = Counter((sample.label, sample.split) for sample in folder.samples)
    photos = Counter(sample.label for sample in folder.samples)
    labels = sorted([*folder.classes, *folder.classes_left_out], key=lambda label: -photos[label])
    count = len(folder.classes)
    classes = f"{count} {'class' if count == 1 else 'classes'}"
    title = f"{plural(len(folder.samples), 'photo')} of {classes}"
    table = Table("class", *SPLITS, "not used", title=title)
    for label in _first_and_last(labels):
        numbers = [*(counts[label, split] for split in SPLITS), dropped[label]]
        table.add_row(escape(label), *map(str, numbers))
    console.print(table)
    if len(labels) > MOST_CLASSES:
        half = MOST_CLASSES // 2
        console.print(f"Only the {half} largest and {half} smallest classes are shown.")
    for name in ("shorter_side", "longer_side") if facts["sizes"] else ():
        side = facts["sizes"][name]
        line = f"{side['smallest']} to {side['largest']} pixels, median {side['middle']}"
        console.print(f"{name.replace('_', ' ')}: {line}", highlight=False)
    console.print(", ".join(f"{number} {name}" for name, number in facts["formats"].items()))
    reasons = [(file["file"], file["reason"]) for file in facts["dropped"]]
    _show_pairs(("not used", "reason"), reasons, console)
    _show_pairs(("photo", "near-duplicate, in the same split"), facts["near_duplicates"], console)
    for warning in facts["warnings"]:
        console.print(warning, style="yellow", markup=False, highlight=False)


def show_model(card: Card, file: Path, console: Console) -> None:
    """Print the metadata of a model file."""
    facts = {
        "file": f"{file}, {file.stat().st_size / 1e6:.1f} MB",
        "version": card.version,
        "network": card.network,
        "precision": f"int8: {int8.summary()}" if (int8 := card.quantised) else "float32",
        "classes": f"{len(card.classes)}: {listing(card.classes)}",
        "preprocessing": ", ".join(f"{name} {value}" for name, value in card.preprocessing),
        "temperature": f"{card.temperature:g}",
        "threshold": f"{card.threshold:g}; predictions with less confidence are not accepted",
        "split": ", ".join(f"{name} {value:g}" for name, value in card.split.model_dump().items()),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, escape(value))
    console.print(table)
    _show_metrics(card, console)


def _show_metrics(card: Card, console: Console) -> None:
    """Print the metrics in a model's metadata, if there are any."""
    measured = {
        name.replace("_", " "): of
        for name, of in card.scores.items()
        if isinstance(of, dict) and "accuracy" in of
    }
    if not measured:
        return
    metrics = Table("measured on", *(name.replace("_", " ") for name in METRICS))
    for split, of in measured.items():
        cells = (form.format(of[n]) if of.get(n) is not None else "" for n, form in METRICS.items())
        metrics.add_row(split, *cells)
    classes = Table("class", *(f"F1 on {split}" for split in measured))
    for label in _first_and_last(card.classes):
        f1 = [of.get("classes", {}).get(label, {}).get("f1") for of in measured.values()]
        classes.add_row(escape(label), *("" if of is None else f"{of:.3f}" for of in f1))
    console.print(metrics, classes)


def _read_card(file: Path) -> Card:
    if file.suffix != ".safetensors":
        return Card.from_metadata(read_metadata(file))
    from ml.models.checkpoint import load  # imports torch, which is not installed for serving

    return load(file)[1]


def _show_pairs(head: tuple[str, str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print the first rows of a table, if there are any."""
    if rows:
        table = Table(*head, title=plural(len(rows), "file"))
        for left, right in rows[:MOST_FILES]:
            table.add_row(escape(left), escape(right))
        console.print(table)
    if len(rows) > MOST_FILES:
        console.print(f"… and {len(rows) - MOST_FILES} more: --json lists them all.")


def _first_and_last(names: Sequence[str]) -> Sequence[str]:
    half = MOST_CLASSES // 2
    return names if len(names) <= MOST_CLASSES else [*names[:half], *names[-half:]]
