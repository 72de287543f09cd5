"""What is in an image folder or a model file, for people and for programs."""

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
from ml.errors import listing
from ml.models.card import Card, Split
from ml.models.onnx_file import read_metadata

ROWS, SHOWN = 50, 20
"""Classes and files that a table shows at most; of more classes, the first and last."""
SPLITS = ("train", "validation", "test")


def inspect(path: Path, as_json: bool, console: Console) -> None:
    """Print what is in an image folder, a model file, or a run folder's model.

    Raises:
        DataError, ModelError
    """
    file = path / "model.onnx" if (path / "model.onnx").is_file() else path
    if file.is_dir():
        folder = split_folder(scan(file), Split())
        if as_json:
            console.print_json(data=folder_facts(folder))
        else:
            show_folder(folder, console)
        return
    card = _card(file)
    if as_json:
        console.print_json(data=card.model_dump(mode="json"))
    else:
        show_model(card, file, console)


def folder_facts(folder: ImageFolder) -> dict[str, Any]:
    """What `data.json` holds of a folder that is split, and its formats and warnings."""
    formats = Counter(sample.format for sample in folder.samples)
    return folder.summary() | {
        "formats": dict(formats.most_common()),
        "warnings": warnings(folder),
    }


def show_folder(folder: ImageFolder, console: Console) -> None:
    """Print counts, sizes, what is left out and why, near-duplicates and warnings."""
    facts = folder_facts(folder)
    left_out = Counter(file.label for file in folder.dropped)
    counts = Counter((sample.label, sample.split) for sample in folder.samples)
    photos = Counter(sample.label for sample in folder.samples)
    labels = sorted([*folder.classes, *folder.classes_left_out], key=lambda label: -photos[label])
    title = f"{len(folder.samples)} photos of {len(folder.classes)} classes"
    table = Table("class", *SPLITS, "left out", title=title)
    for label in _ends(labels):
        numbers = [*(counts[label, split] for split in SPLITS), left_out[label]]
        table.add_row(escape(label), *map(str, numbers))
    console.print(table)
    if len(labels) > ROWS:
        console.print(f"Of {len(labels)} classes the {ROWS} largest and smallest are shown.")
    for name in ("shorter_side", "longer_side") if facts["sizes"] else ():
        of = facts["sizes"][name]
        console.print(
            f"{name.replace('_', ' ')} from {of['smallest']} to {of['largest']} pixels, "
            f"middle {of['middle']}",
            highlight=False,
        )
    console.print(", ".join(f"{count} {name}" for name, count in facts["formats"].items()))
    _show_pairs(
        ("left out", "why"), [(file["file"], file["reason"]) for file in facts["dropped"]], console
    )
    _show_pairs(("looks like", "so on its side of the split"), facts["near_duplicates"], console)
    for warning in facts["warnings"]:
        console.print(warning, style="yellow", markup=False, highlight=False)


def show_model(card: Card, file: Path, console: Console) -> None:
    """Print what a model file says of itself."""
    about = Table.grid(padding=(0, 2))
    facts = {
        "file": f"{file}, {file.stat().st_size / 1e6:.1f} MB",
        "version": card.version,
        "network": card.network,
        "precision": _precision(card),
        "classes": f"{len(card.classes)}: {listing(card.classes)}",
        "preprocessing": ", ".join(f"{k} {v}" for k, v in card.preprocessing.model_dump().items()),
        "temperature": f"{card.temperature:g}",
        "threshold": f"{card.threshold:g}; answers of less confidence are not accepted",
        "split": ", ".join(f"{name} {value:g}" for name, value in card.split.model_dump().items()),
    }
    for name, value in facts.items():
        about.add_row(name, escape(value))
    console.print(about)
    measured = {
        name.replace("_", " "): of
        for name, of in card.scores.items()
        if isinstance(of, dict) and "accuracy" in of
    }
    figures = {
        "photos": "{}",
        "accuracy": "{:.2%}",
        "loss": "{:.3f}",
        "calibration_error": "{:.2%}",
        "coverage": "{:.1%}",
        "accepted_accuracy": "{:.2%}",
    }
    scores = Table("measured on", *(name.replace("_", " ") for name in figures))
    for split, of in measured.items():
        cells = (form.format(of[n]) if of.get(n) is not None else "" for n, form in figures.items())
        scores.add_row(split, *cells)
    classes = Table("class", *(f"F1 on {split}" for split in measured))
    for label in _ends(card.classes):
        f1 = [of.get("classes", {}).get(label, {}).get("f1") for of in measured.values()]
        classes.add_row(escape(label), *("" if of is None else f"{of:.3f}" for of in f1))
    if measured:
        console.print(scores, classes)


def _precision(card: Card) -> str:
    if card.quantised is None:
        return card.precision
    of = card.quantised
    return (
        f"{card.precision}: accuracy {of.accuracy:.2%}, float32's {of.accuracy_float32:.2%}; same "
        f"label for {of.label_agreement:.1%} of {of.photos} photos ({of.split}); probabilities "
        f"differ by up to {of.largest_probability_difference:.3f}"
    )


def _card(file: Path) -> Card:
    if file.suffix != ".safetensors":
        return Card.from_metadata(read_metadata(file))
    from ml.models.checkpoint import load  # with torch, which serving has not

    return load(file)[1]


def _show_pairs(head: tuple[str, str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print the first rows of a long table, where there are any."""
    if rows:
        table = Table(*head, title=f"{len(rows)} files")
        for one, other in rows[:SHOWN]:
            table.add_row(escape(one), escape(other))
        console.print(table)
    if len(rows) > SHOWN:
        console.print(f"… and {len(rows) - SHOWN} more: --json lists them all.")


def _ends(names: Sequence[str]) -> Sequence[str]:
    return names if len(names) <= ROWS else [*names[: ROWS // 2], *names[-ROWS // 2 :]]
