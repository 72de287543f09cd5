"""List the class folders and the files of an image folder."""

from pathlib import Path

from ml.data.sample import Dropped, Sample
from ml.errors import DataError, Rejected
from ml.files import walk

OWN_SPLITS = ("train", "test")


def list_files(root: Path) -> tuple[list[Sample], list[Dropped]]:
    """List the files of all class folders, in the same order on every machine.

    Raises:
        DataError: if there is no folder, its own split is incomplete, or a name is not UTF-8.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.")
    files, dropped = [], []
    for split, folder in list_class_folders(root):
        if root.resolve().is_relative_to(folder.resolve()):
            reason = "This is a link to a folder that contains it. Such links are not followed."
            dropped.append(Dropped(folder, reason, folder.name))
            continue
        for path, rejected in sorted(walk(folder), key=lambda found: found[0]):
            if not _is_utf8(str(path.relative_to(root))):
                rejected = Rejected("The name of the file or its folder is not UTF-8: rename it.")
            if rejected is not None:
                dropped.append(Dropped(path, rejected.reason, folder.name))
            else:
                files.append(Sample(path, folder.name, split))
    return files, dropped


def class_of(file: str) -> str:
    """Return the class of a file from its path in `data.json`."""
    parts = file.split("/")
    return parts[1] if parts[0] in OWN_SPLITS else parts[0]


def list_class_folders(root: Path) -> list[tuple[str, Path]]:
    """List the class folders as (split, folder); the split is empty if `root` has no own split.

    Raises:
        DataError: if the folder's own split is incomplete, or a name is not UTF-8.
    """
    own_split = all((root / name).is_dir() for name in OWN_SPLITS)
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    if not own_split and set(OWN_SPLITS) & {name.lower() for name in folders}:
        raise DataError(
            f"{root} contains {', '.join(sorted(folders))}: a folder with its own split needs both "
            "`train` and `test`, in lower case, with one folder per class in each."
        )
    found = [
        (split, folder)
        for split in (OWN_SPLITS if own_split else ("",))
        for folder in sorted((root / split).iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    for _, folder in found:
        if not _is_utf8(folder.name):
            raise DataError(f"The class folder's name {folder.name!a} is not UTF-8: rename it.")
    return found


def _is_utf8(name: str) -> bool:
    return name == name.encode(errors="replace").decode()
