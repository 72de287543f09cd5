"""The network: MobileNetV2 with multi-scale branches, and logits for each image region.

MobileNetV2: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
https://arxiv.org/abs/1801.04381; torchvision's module, unchanged. The outputs of three stages
are reduced to 128 channels at 1/32 of the resolution and added:

    image 3x224x224
      └─ stages 0..6   32x28x28  ─ Downscale ─ Downscale ─┐
      └─ stages ..13   96x14x14  ─ Downscale ─────────────┼─ sum 128x7x7 ─ pool ─ 1x1 ─ linear
      └─ stages ..18 1280x7x7    ─ 1x1 ─ 3x3 ─────────────┘
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml.torchvision_import import mobilenet_v2

TAPS = (6, 13, 18)  # the stages whose outputs are added
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)  # of ImageNet's RGB values, from 0 to 1


class Output(NamedTuple):
    """A network's output. In evaluation mode the mean of `evidence` over its cells is `logits`."""

    logits: Tensor  # (N, classes)
    evidence: Tensor  # (N, classes, 7, 7) at 224x224


class ConvBlock(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class Downscale(nn.Module):
    """Halve the resolution and reduce C channels to 128, in two parallel branches of 64."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point = ConvBlock(channels, 64, kernel=1, stride=2)
        self.area = nn.Sequential(
            ConvBlock(channels, 64, kernel=1, stride=2), ConvBlock(64, 64, kernel=3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 128, H/2, W/2)."""
        return torch.cat([self.point(x), self.area(x)], dim=1)


class Net(nn.Module):
    """The network, for two or more classes. Its input is normalised RGB."""

    def __init__(self, num_classes: int = 4) -> None:
        if num_classes < 2:
            raise ValueError(f"a classifier needs at least 2 classes, not {num_classes}")
        super().__init__()
        self.features = mobilenet_v2().features
        self.fine = nn.Sequential(Downscale(32), Downscale(128))
        self.middle = Downscale(96)
        self.coarse = nn.Sequential(ConvBlock(1280, 128, kernel=1), ConvBlock(128, 128, kernel=3))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(128, 32, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.classifier = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Output:
        """(N, 3, H, W) to logits (N, classes) and evidence (N, classes, H/32, W/32)."""
        taps = []
        for number, stage in enumerate(self.features):
            x = stage(x)
            if number in TAPS:
                taps.append(x)
        fine, middle, coarse = taps  # (N, 32, 28, 28), (N, 96, 14, 14), (N, 1280, 7, 7)
        fused = self.fine(fine) + self.middle(middle) + self.coarse(coarse)  # (N, 128, 7, 7)
        reduced = self.norm(self.reduce(self.pool(fused)))  # (N, 32, 1, 1)
        return Output(self.classifier(reduced.flatten(1)), self._evidence(fused))

    def _evidence(self, fused: Tensor) -> Tensor:
        """Compute the logits of each cell.

        In evaluation mode all layers after the pooling are affine, and an affine map of a mean is
        the mean of the affine map. Applied to each cell, they give maps whose mean is the logit.
        In training mode this does not hold, because batch norm uses the batch's statistics.
        """
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        cells = F.batch_norm(
            F.conv2d(fused, self.reduce.weight),
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            eps=norm.eps,
        )  # (N, 32, 7, 7)
        return _linear_per_cell(cells, self.classifier)


class PlainNet(nn.Module):
    """MobileNetV2 with a linear head, as a baseline."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.features = mobilenet_v2().features
        self.classifier = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> Output:
        """(N, 3, H, W) to logits (N, classes) and evidence (N, classes, H/32, W/32)."""
        x = self.features(x)  # (N, 1280, 7, 7)
        logits = self.classifier(x.mean(dim=(2, 3)))
        return Output(logits, _linear_per_cell(x, self.classifier))


def _linear_per_cell(cells: Tensor, linear: nn.Linear) -> Tensor:
    return F.conv2d(cells, linear.weight[:, :, None, None], linear.bias)


Network = Net | PlainNet
NETWORKS: dict[str, type[Net] | type[PlainNet]] = {"skyspotter": Net, "plain": PlainNet}


class NormalisedNetwork(nn.Module):
    """A network that normalises its input, as exported to ONNX."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Output:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        output: Output = self.network(normalise(image))
        return output


def normalise(pixels: Tensor) -> Tensor:
    """RGB bytes, uint8 (N, H, W, 3), to the network's input, float32 (N, 3, H, W).

    Channels are moved first: in the channels-last layout ONNX Runtime takes twenty times as long
    for the subtraction, a quarter of an int8 model's time.
    """
    mean = torch.tensor(MEAN, device=pixels.device)[:, None, None] * 255  # (3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=pixels.device)[:, None, None] * 255
    return (pixels.permute(0, 3, 1, 2).float() - mean) / deviation
