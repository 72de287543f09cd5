from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch

from ml.errors import ModelError
from ml.files import atomic_write
from ml.model import Net
from ml.models.card import Card
from ml.models.checkpoint import (
    SHIPPED_PARAMETERS,
    fingerprint,
    initialise,
    load,
    load_state,
    parameters_of,
    save,
    save_state,
)


def test_a_network_is_rebuilt_from_its_file(tmp_path: Path, card: Card) -> None:
    network = Net(4).eval()
    save(tmp_path / "net.safetensors", parameters_of(network), card)
    rebuilt, found = load(tmp_path / "net.safetensors")
    assert found == card
    example = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(example), network(example), atol=0, rtol=0)


def test_other_users_may_read_a_saved_file(tmp_path: Path, card: Card) -> None:
    save(tmp_path / "net.safetensors", {"a": torch.zeros(1)}, card)
    assert (tmp_path / "net.safetensors").stat().st_mode & 0o444 == 0o444


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fill_the_disk() -> None:
        with atomic_write(path) as partial:
            partial.write_text("half of the n")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill_the_disk()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_initialises_all_parameters_that_fit(tmp_path: Path, card: Card) -> None:
    trained = Net(4)
    save(tmp_path / "net.safetensors", parameters_of(trained), card)
    fresh = Net(9)  # other classes: all but the classifier is loaded
    initialise(fresh, str(tmp_path / "net.safetensors"))
    for name, parameter in fresh.named_parameters():
        if not name.startswith("classifier."):
            assert torch.equal(parameter, trained.state_dict()[name]), name


def test_a_file_of_a_backbone_initialises_the_backbone(tmp_path: Path, card: Card) -> None:
    backbone = Net(4).features
    save(tmp_path / "backbone.safetensors", parameters_of(backbone), card)
    network = Net(4)
    initialise(network, str(tmp_path / "backbone.safetensors"))
    assert fingerprint(network.features.state_dict()) == fingerprint(backbone.state_dict())


def test_shipped_initialises_only_the_backbone() -> None:
    network = Net(4)
    before = parameters_of(network)
    shipped, _ = load(SHIPPED_PARAMETERS)
    initialise(network, "shipped")
    for name, value in network.state_dict().items():
        source = shipped.state_dict() if name.startswith("features.") else before
        assert torch.equal(value, source[name]), name


def test_a_failed_download_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: object) -> None:
        raise URLError("Name or service not known")

    network = Net(2)
    monkeypatch.setattr("ml.models.checkpoint.mobilenet_v2", unreachable)
    with pytest.raises(ModelError, match="could not be downloaded"):
        initialise(network, "imagenet")


@pytest.mark.parametrize("content", [b"", b"nonsense" * 99, None])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError):
        load(path)
    with pytest.raises(ModelError):
        initialise(Net(2), str(path))


def test_a_file_without_matching_parameters_is_refused(tmp_path: Path, card: Card) -> None:
    save(tmp_path / "other.safetensors", {"embedding": torch.zeros(3)}, card)
    with pytest.raises(ModelError, match="no parameters that fit"):
        initialise(Net(2), str(tmp_path / "other.safetensors"))


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "a": {"b": [torch.tensor([0.1, 2])], "c": float("inf")},
        "d": ("text", None, True),
    }
    save_state(tmp_path / "state.pt", state)
    assert str(load_state(tmp_path / "state.pt")) == str(state)


class HarmfulObject:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harmed"),))


def test_a_state_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"optimiser": HarmfulObject()}, "state.pt")
    with pytest.raises(ModelError, match="damaged"):
        load_state(Path("state.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("content", [b"", b"nonsense" * 99])
def test_a_damaged_state_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_state(tmp_path / "state.pt")
