import json
import os
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from ml.data.image_folder import OOD_LABEL, scan, scan_ood
from ml.data.split import split_folder
from ml.errors import DataError
from ml.images.decode import read
from ml.models.card import Split
from tests.helpers import encoded, picture


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A typical collection: photos, web pages saved as .jpg, incomplete downloads, copies."""
    for label, seed in (("bird", 1), ("plane", 50)):
        (tmp_path / label).mkdir()
        for i in range(10):
            name = "Flying Birds" if label == "bird" else "Winged Drones"
            data = encoded(picture(name, seed + i), "JPEG", quality=90)
            (tmp_path / label / f"{i}.jpg").write_bytes(data)
    bird = tmp_path / "bird"
    (bird / "page.jpg").write_text("<!doctype html><h1>404</h1>")
    (bird / "cut.jpg").write_bytes((bird / "0.jpg").read_bytes()[:2000])
    (bird / "same.png").write_bytes((bird / "1.jpg").read_bytes())
    photo = Image.open(BytesIO((bird / "2.jpg").read_bytes()))
    smaller = photo.resize((photo.width * 3 // 4, photo.height * 3 // 4))
    (bird / "smaller.webp").write_bytes(encoded(smaller, "WebP", quality=70))
    (tmp_path / "plane" / "stray.jpg").write_bytes((bird / "3.jpg").read_bytes())
    (bird / ".DS_Store").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("not a class")
    return tmp_path


def test_dropped_files_are_listed_with_their_reasons(messy: Path) -> None:
    folder = scan(messy)
    reasons = {dropped.path.name: dropped.reason for dropped in folder.dropped}
    assert set(reasons) == {"page.jpg", "cut.jpg", "same.png", "smaller.webp", "stray.jpg", "3.jpg"}
    assert "not an image" in reasons["page.jpg"]
    assert "damaged" in reasons["cut.jpg"]
    assert reasons["same.png"] == "A copy of 1.jpg."
    assert reasons["smaller.webp"] == "A copy of 2.jpg."
    assert "two classes" in reasons["stray.jpg"]
    assert folder.classes == ("bird", "plane")
    assert len(folder.samples) == 19


def shifted(image: Image.Image) -> Image.Image:
    return image.crop((5, 4, image.width, image.height))


def test_near_duplicates_are_in_the_same_split(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(12):
            image = picture("Large QuadCopters" if label == "a" else "Flying Birds", i)
            (tmp_path / label / f"{i:02}.png").write_bytes(encoded(image, "PNG"))
            (tmp_path / label / f"{i:02}-next.png").write_bytes(encoded(shifted(image), "PNG"))
    folder = scan(tmp_path)
    assert len(folder.near_duplicates) + len(folder.dropped) >= 20
    for seed in range(5):
        split = split_folder(folder, Split(seed=seed))
        side = {sample.path: sample.split for sample in split.samples}
        assert all(side[a] == side[b] for a, b in split.near_duplicates if a in side and b in side)


def test_training_copies_of_test_photos_are_dropped(drawn: Path, tmp_path: Path) -> None:
    for side in ("train", "test"):
        shutil.copytree(drawn, tmp_path / side, ignore=shutil.ignore_patterns("index.csv"))
    shutil.rmtree(tmp_path / "test" / "Flying Birds")
    folder = scan(tmp_path)
    assert {sample.label for sample in folder.of("train")} == {"Flying Birds"}
    assert len(folder.of("test")) == 30


def test_a_class_without_usable_photos_is_reported(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(drawn, root)
    (root / "empty").mkdir()
    (root / "web pages").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (root / "web pages" / name).write_text("<!doctype html>")
    folder = scan(root)
    assert len(folder.classes) == 4
    assert set(folder.classes_left_out) == {"empty", "web pages"}
    assert folder.classes_left_out["empty"] == "there is no file in it."
    assert "2 files but no usable photo. The first: " in folder.classes_left_out["web pages"]
    assert folder.summary()["classes_left_out"] == folder.classes_left_out


def test_unusual_class_names(drawn: Path, tmp_path: Path) -> None:
    names = ("1 first", "🪁 kite", '<b>bold & "quoted"', "[red]x")
    for name, source in zip(names, sorted(p for p in drawn.iterdir() if p.is_dir()), strict=True):
        shutil.copytree(source, tmp_path / name)
    folder = split_folder(scan(tmp_path), Split())
    assert folder.classes == tuple(sorted(names))
    assert json.loads(json.dumps(folder.summary()))["counts"]["test"]["🪁 kite"] == 3


def test_links_pipes_and_vanished_files_are_dropped(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    shutil.copytree(drawn, root)
    (root / "loop").symlink_to("..")
    birds = root / "Flying Birds"
    (birds / "up").symlink_to("..")
    (birds / "self.jpg").symlink_to("self.jpg")
    (birds / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(birds / "pipe")
    vanished = sorted(birds.glob("*0001.jpg"))[0]

    def vanishing(path: Path) -> bytes:
        if path == vanished:
            path.unlink()
        return read(path)

    monkeypatch.setattr("ml.data.image_folder.read", vanishing)
    folder = scan(root)
    reasons = {dropped.path.name: dropped.reason for dropped in folder.dropped}
    assert set(reasons) == {"loop", "up", "self.jpg", "dangling.jpg", "pipe", vanished.name}
    assert "link" in reasons["loop"]
    assert "link" in reasons["up"]
    assert "symbolic links" in reasons["self.jpg"]
    assert "No such file" in reasons["dangling.jpg"]
    assert "pipe" in reasons["pipe"]
    assert "No such file" in reasons[vanished.name]
    assert len(folder.samples) == 39


def test_names_not_in_utf_8(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(drawn, root)
    odd = os.fsencode(root / "Flying Birds") + b"/caf\xe9.jpg"
    Path(os.fsdecode(odd)).write_bytes(b"x")
    below = Path(os.fsdecode(os.fsencode(root / "Winged Drones") + b"/caf\xe9")) / "photo.jpg"
    below.parent.mkdir()
    shutil.copy(next(drawn.rglob("*.jpg")), below)
    folder = scan(root)
    assert len(folder.samples) == 40
    assert [str(path) for path in sorted(d.path for d in folder.dropped)] == [
        os.fsdecode(odd),
        str(below),
    ]
    assert all("UTF-8" in dropped.reason for dropped in folder.dropped)
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).mkdir()
    with pytest.raises(DataError, match="UTF-8"):
        scan(root)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        scan(tmp_path / "nowhere")


def test_summary_has_the_sizes(tmp_path: Path) -> None:
    for number, size in enumerate([(100, 300), (400, 200), (500, 600)]):
        label = tmp_path / f"class {number % 2}"
        label.mkdir(exist_ok=True)
        picture(seed=number).resize(size).save(label / f"{number}.jpg")
    sizes = scan(tmp_path).summary()["sizes"]
    assert sizes["shorter_side"] == {"smallest": 100, "middle": 200, "largest": 500}
    assert sizes["longer_side"] == {"smallest": 300, "middle": 400, "largest": 600}
    assert sizes["share_under_224"] == pytest.approx(2 / 3)


def test_summary_names_every_file_once(messy: Path) -> None:
    summary = split_folder(scan(messy), Split()).summary()
    named = [*summary["files"], *(dropped["file"] for dropped in summary["dropped"])]
    assert len(named) == len(set(named)) == 25


def test_a_small_object_moved_in_the_same_sky_is_not_a_copy(tmp_path: Path) -> None:
    for label, place in (("bird", (200, 150)), ("drone", (430, 300))):
        (tmp_path / label).mkdir()
        sky = Image.new("RGB", (640, 480), (150, 180, 220))
        x, y = place
        ImageDraw.Draw(sky).ellipse((x - 12, y - 6, x + 12, y + 6), fill=(40, 40, 40))
        (tmp_path / label / "photo.png").write_bytes(encoded(sky, "PNG"))
    assert scan(tmp_path).dropped == ()


def test_training_near_duplicates_of_test_photos_are_dropped(drawn: Path, tmp_path: Path) -> None:
    for path in sorted(drawn.rglob("*.jpg")):
        image = Image.open(path).convert("RGB")
        for side, version in (("train", shifted(image)), ("test", image)):
            (tmp_path / side / path.parent.name).mkdir(parents=True, exist_ok=True)
            version.save(tmp_path / side / path.parent.name / path.name, quality=95)
    for name in ("a", "b"):
        noise = Image.effect_noise((99, 99), 99 if name == "a" else 40)
        (tmp_path / "train" / "Flying Birds" / f"{name}.png").write_bytes(encoded(noise, "PNG"))
    folder = scan(tmp_path)
    assert folder.near_duplicates == ()
    assert len(folder.of("test")) == 40
    assert all("of the test set" in dropped.reason for dropped in folder.dropped)


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "Test"), ("test", "bird")])
def test_a_partial_split_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="`train` and `test`"):
        scan(tmp_path)


def test_an_index_from_a_spreadsheet(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(drawn, root)
    file = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))[0]
    (root / "index.csv").write_text(f"file,group,note\n{file}\n", encoding="utf-8-sig")
    assert scan(root).samples[0].columns == {"file": file, "group": "", "note": ""}
    (root / "index.csv").write_bytes(b"file,note\nx,caf\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        scan(root)


def test_ood_photos_come_from_anywhere_below_a_folder(drawn: Path, tmp_path: Path) -> None:
    pictures = scan_ood(drawn)
    assert len(pictures) == 40
    assert {picture.label for picture in pictures} == {OOD_LABEL}
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(DataError, match="no photo"):
        scan_ood(tmp_path)
