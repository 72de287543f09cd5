from pathlib import Path

import numpy as np
import pytest

from ml.data.image_folder import scan_ood
from ml.data.synthetic_ood import KINDS, draw_ood, synthesize_ood


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("once", 7), ("again", 7), ("other", 8)):
        synthesize_ood(tmp_path / name, images_per_kind=2, seed=seed)
    once, again, other = (
        [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.jpg"))]
        for name in ("once", "again", "other")
    )
    assert once == again
    assert not set(once) & set(other)
    assert len(scan_ood(tmp_path / "once")) == 2 * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_a_kind_differ(kind: str) -> None:
    pictures = [draw_ood(kind, np.random.default_rng(seed)) for seed in range(20)]
    assert len({picture.tobytes() for picture in pictures}) == 20
    for picture in pictures:
        assert picture.mode == "RGB"
        assert min(picture.size) >= 180
        assert np.asarray(picture).std() > 1  # the picture is not empty
