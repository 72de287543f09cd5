import csv
import shutil
from collections import Counter
from pathlib import Path

from ml.data.image_folder import ImageFolder, scan
from ml.data.sample import Sample
from ml.data.split import split_folder
from ml.models.card import Split


def test_split_is_stratified_and_repeatable(drawn: Path) -> None:
    folder = scan(drawn)
    one, again = split_folder(folder, Split(seed=3)), split_folder(folder, Split(seed=3))
    assert one == again
    assert one != split_folder(folder, Split(seed=4))
    counts = Counter((sample.label, sample.split) for sample in one.samples)
    for label in folder.classes:
        assert counts[label, "test"] == 3
        assert counts[label, "validation"] == 1
        assert counts[label, "train"] == 6


def test_groups_of_the_index_are_not_divided(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "grouped"
    shutil.copytree(drawn, root)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    with (root / "index.csv").open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["file", "group", "shoot"])
        rows.writerows(
            [file, f"{file.split('/')[0]}{i % 10 // 2}", "x"] for i, file in enumerate(files)
        )
    folder = split_folder(scan(root), Split())
    sides: dict[str, set[str]] = {}
    for sample in folder.samples:
        sides.setdefault(sample.columns["group"], set()).add(sample.split)
    assert len(sides) == 20
    assert all(len(side) == 1 for side in sides.values())


def test_a_group_that_is_too_large_for_test_is_in_train(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "video"
    shutil.copytree(drawn, root)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    lines = [f"{file},video" for file in files if file.startswith("Winged") and "-0010" not in file]
    (root / "index.csv").write_text("file,group\n" + "\n".join(lines))
    for seed in range(4):
        folder = split_folder(scan(root), Split(seed=seed))
        frames = [sample for sample in folder.samples if sample.columns]
        assert {sample.split for sample in frames} == {"train"}


def test_a_folders_own_split_is_kept(drawn: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(drawn.rglob("*.jpg"))):
        side = "test" if number % 2 else "train"
        (tmp_path / side / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / side / path.parent.name)
    folder = split_folder(scan(tmp_path), Split(validation=0.2))
    for sample in folder.samples:
        own = sample.path.relative_to(tmp_path).parts[0]
        assert (sample.split == "test") == (own == "test")
    assert len(folder.of("validation")) == 4


def test_the_only_photo_of_a_class_is_in_train(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(drawn, root)
    for path in sorted((root / "Winged Drones").iterdir())[1:]:
        path.unlink()
    for seed in range(4):
        folder = split_folder(scan(root), Split(seed=seed))
        assert [s.split for s in folder.samples if s.label == "Winged Drones"] == ["train"]


def test_ten_thousand_classes(tmp_path: Path) -> None:
    """One pass per class would take minutes, more than the time limit of a test."""
    samples = tuple(
        Sample(tmp_path / f"{label}" / f"{i}.jpg", f"{label:05}", group=f"{label}/{i}")
        for label in range(10_000)
        for i in range(5)
    )
    labels = tuple(f"{label:05}" for label in range(10_000))
    folder = split_folder(ImageFolder(tmp_path, labels, samples, (), ()), Split())
    counts = Counter((sample.label, sample.split) for sample in folder.samples)
    assert {counts[label, "test"] for label in labels} <= {1, 2}
    assert all(counts[label, "train"] >= 2 for label in labels)


def test_samples_of_a_split(drawn: Path) -> None:
    folder: ImageFolder = split_folder(scan(drawn), Split(test=0, validation=0.2))
    assert folder.of("test") == []
    assert len(folder.of("all")) == len(folder.of("train")) + len(folder.of("validation")) == 40
