import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ml.model import Net, PlainNet, normalise

TABLE = Path(__file__).with_name("network_table.csv")
Row = tuple[str, str, int]


def executed_layers(network: nn.Module, example: Tensor) -> list[Row]:
    """Type, output shape and number of own parameters of each layer, in order of execution."""
    rows: list[Row] = []

    def record(module: nn.Module, _: object, output: Tensor) -> None:
        shape = "x".join(map(str, output.shape[1:]))
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        rows.append((type(module).__name__, shape, own))

    for module in network.modules():
        if not list(module.children()) or type(module).__name__ == "InvertedResidual":
            module.register_forward_hook(record)
    network(example)
    return rows


def test_layers_equal_the_rows_of_the_table() -> None:
    with TABLE.open(newline="") as opened:
        expected = [
            (row["layer"], row["output_shape"], int(row["parameters"]))
            for row in csv.DictReader(opened)
        ]
    # The classifier's output is flat, so the table has "4" as its shape.
    rows = executed_layers(Net(4).eval(), torch.zeros(1, 3, 224, 224))
    assert len(expected) == 193
    assert rows == expected


def test_network_has_as_many_parameters_as_the_table() -> None:
    assert sum(parameter.numel() for parameter in Net(4).parameters()) == 2_684_484


def with_random_statistics(network: nn.Module) -> nn.Module:
    """Give batch norms random statistics and scales, as if they were trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


@pytest.mark.parametrize("network", [Net(4), Net(7), PlainNet(3)])
@pytest.mark.parametrize("size", [224, 288])
def test_mean_of_evidence_is_the_logit(network: nn.Module, size: int) -> None:
    torch.manual_seed(0)
    with_random_statistics(network)
    with torch.no_grad():
        logits, evidence = network(torch.randn(3, 3, size, size))
    assert evidence.shape == (3, logits.shape[1], size // 32, size // 32)
    assert evidence.std(dim=(2, 3)).min() > 0, "equal cells would make this test meaningless"
    torch.testing.assert_close(evidence.mean(dim=(2, 3)), logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", [Net, PlainNet])
def test_the_receptive_field_of_cell_i_is_centred_on_pixel_32_i(
    architecture: type[Net | PlainNet],
) -> None:
    """`ml.images.preprocessing.region` relies on it to place the evidence in the photo."""
    torch.manual_seed(0)
    weight = torch.zeros(480, 480)
    for _ in range(8):  # the centre of a single random network is up to 10 pixels off
        network = with_random_statistics(architecture(2))
        pixels = torch.randn(1, 3, 480, 480, requires_grad=True)
        network(pixels).evidence[:, 0, 7, 7].sum().backward()
        assert pixels.grad is not None
        energy = pixels.grad.square().sum(dim=(0, 1))  # (480, 480)
        weight += energy / energy.sum()
    positions = torch.arange(480.0) + 0.5
    for axis in (0, 1):
        centre = (weight.sum(dim=axis) * positions).sum() / weight.sum()
        assert centre == pytest.approx(7 * 32, abs=6)


def test_one_class_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Net(1)


def test_normalise_uses_the_statistics_of_imagenet() -> None:
    pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)  # (1, 1, 1, 3)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    normalised = normalise(pixels)
    assert normalised.shape == (1, 3, 1, 1)
    torch.testing.assert_close(normalised.flatten(), torch.tensor(expected), atol=1e-5, rtol=0)
