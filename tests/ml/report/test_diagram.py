import torch
from torch import Tensor, nn

from ml.model import Net, PlainNet
from ml.report.diagram import blocks, draw, layers


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_blocks_and_layers_count_every_parameter_once() -> None:
    for network in (Net(7).eval(), PlainNet(7).eval()):
        assert sum(block.parameters for block in blocks(network)) == parameters(network)
        assert sum(layer.parameters for layer in layers(network)) == parameters(network)


def test_the_three_branches_join_in_the_sum() -> None:
    found = {block.name: block for block in blocks(Net(5).eval())}
    (total,) = (block for block in found.values() if block.owner == "sum")
    assert {source.name for source in total.inputs} == {"fine 0-1", "middle", "coarse 0-1"}
    assert [source.name for source in found["fine 0-1"].inputs] == ["features 0-6"]
    assert [source.name for source in found["middle"].inputs] == ["features 7-13"]
    assert total.shape == (128, 7, 7)
    assert {tuple(block.outputs): block.shape for block in found.values() if block.outputs} == {
        ("logits",): (5,),
        ("evidence",): (5, 7, 7),
    }


def test_shapes_are_those_of_the_forward_pass() -> None:
    network = Net(4).eval()
    shapes: list[tuple[int, ...]] = []
    network.middle.register_forward_hook(lambda _m, _i, output: shapes.append(output.shape))
    network(torch.zeros(1, 3, 224, 224))
    (middle,) = (block for block in blocks(network) if block.name == "middle")
    assert shapes[0][1:] == middle.shape
    assert [layer.name for layer in layers(network)][-1] == "classifier"


def test_boxes_do_not_overlap_and_arrows_point_down() -> None:
    for network in (Net().eval(), PlainNet().eval()):
        found = blocks(network)
        assert len({(block.rank, block.column) for block in found}) == len(found)
        for block in found:
            assert all(source.top + source.height < block.top for source in block.inputs)


def test_any_other_network_can_be_drawn() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
            self.right = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) + self.right(x)  # type: ignore[no-any-return]

    found = blocks(Two())
    assert [block.name for block in found] == ["image", "left.0, left.1", "right", "sum"]
    assert "left.0, left.1" in draw(found)
