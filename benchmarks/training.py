"""Compare the speed of Skyspotter's training loop with that of torchvision's reference loop.

    python benchmarks/training.py [DATA] [--epochs 20] [--rounds 3]

The reference is what https://github.com/pytorch/vision/blob/main/references/classification/train.py
does by default: float32, SGD with momentum, RandomResizedCrop and horizontal flips, every parameter
trained, torch's default number of threads. It trains the same network from the same parameters on
the same photos, with 1 loading worker and with one for each CPU; the faster one counts. The loops
alternate, each in a separate process, so that neither uses the other's settings. Speed, in images
per second, excludes evaluation. Accuracy is measured on the test photos, after the last epoch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ml.data.image_folder import ImageFolder, scan
from ml.data.sample import Sample
from ml.data.split import split_folder
from ml.data.synthetic import synthesize
from ml.dataset import augmentation
from ml.images.decode import decode
from ml.images.preprocessing import Preprocessing
from ml.model import DEVIATION, MEAN, NETWORKS, normalise
from ml.models.card import Split
from ml.models.checkpoint import initialise
from ml.runs.run import choose_strategy
from ml.torchvision_import import transforms
from ml.trainer import Trainer
from ml.training.config import Config
from ml.training.setup import Setup

ROOT = Path(__file__).resolve().parents[1]
Item = tuple[torch.Tensor, int]


class Photos(Dataset[Item]):
    """The photos of one split, loaded as by torchvision's ImageFolder."""

    def __init__(
        self, samples: list[Sample], classes: tuple[str, ...], steps: list[nn.Module]
    ) -> None:
        self.samples, self.classes = samples, classes
        to_float = transforms.ToDtype(torch.float, scale=True)
        normalisation = transforms.Normalize(MEAN, DEVIATION)
        self.transform = transforms.Compose(
            [*steps, transforms.PILToTensor(), to_float, normalisation]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        with Image.open(sample.path) as opened:
            image = opened.convert("RGB")
        return self.transform(image), self.classes.index(sample.label)


def reference(folder: ImageFolder, epochs: int, workers: int) -> dict[str, float]:
    """Train as the reference does."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = NETWORKS["skyspotter"](len(folder.classes))
    initialise(network, "shipped")
    network.to(device)
    augment = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    centre = [transforms.Resize(256), transforms.CenterCrop(224)]
    training, test = (
        DataLoader(
            Photos(folder.of(split), folder.classes, steps),
            batch_size=32,
            shuffle=split == "train",
            drop_last=split == "train",  # one photo has no statistics for batch norm
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        for split, steps in (("train", augment), ("test", centre))
    )
    # The reference's 0.1 is for random parameters; it destroys pretrained ones.
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=30, gamma=0.1)
    seconds, images = 0.0, 0
    for _ in range(epochs):
        started = time.monotonic()
        network.train()
        for pixels, target in training:
            pixels, target = pixels.to(device), target.to(device)
            output = network(pixels).logits
            loss = nn.CrossEntropyLoss()(output, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            (output.argmax(1) == target).float().mean().item()  # the reference logs accuracy
            loss.item()  # and loss
            images += len(target)
        schedule.step()
        seconds += time.monotonic() - started
    network.eval()
    correct = 0
    with torch.no_grad():
        for pixels, target in test:
            correct += int((network(pixels.to(device)).logits.argmax(1).cpu() == target).sum())
    return {"speed": images / seconds, "accuracy": correct / len(folder.of("test"))}


def own(folder: ImageFolder, epochs: int) -> dict[str, float]:
    """Train as `python -m ml train` does."""
    trainer = _trainer(folder, epochs)
    trainer.run()
    summary = trainer.state.summary("completed")
    accuracy = trainer.state.history[-1]["test_accuracy"]
    return {"speed": summary["images_per_second"], "accuracy": accuracy}


def parts(folder: ImageFolder) -> dict[str, float]:
    """Measure the milliseconds per image of each part of our loop, in sequence."""
    setup = _trainer(folder, epochs=9).setup
    device, network = setup.device, setup.network
    photos = [sample.path for sample in folder.of("train")[: setup.config.batch]]
    augment = augmentation(setup.preprocessing, setup.config.augment)
    taken: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if device.torch_device.type == "cuda":
            torch.cuda.synchronize()
        taken[name] = (time.perf_counter() - started) * 1000 / len(photos)

    network.train()
    setup.frozen.eval()
    for _ in range(4):  # the last round counts; the others warm up
        with timed("decode"):
            images = [decode(path.read_bytes()).image for path in photos]
        with timed("augment"):
            crops = [augment(image).permute(1, 2, 0) for image in images]
        with timed("targets"):
            labels = torch.arange(len(crops)) % len(folder.classes)
            pixels, target = setup.targets(torch.stack(crops), labels)
        with timed("to the device, normalise"):
            normalised = normalise(device.to(pixels))
        with timed("forward"), device.autocast():
            logits = network(normalised).logits
        with timed("backward"):
            loss = nn.functional.cross_entropy(logits.float(), device.to(target))
            loss.backward()  # type: ignore[no-untyped-call]
        with timed("optimiser and EMA"):
            setup.optimiser.step()
    return taken


def _trainer(folder: ImageFolder, epochs: int) -> Trainer:
    output = Path(tempfile.mkdtemp())
    config = Config(data=folder.root, output=output, epochs=epochs)
    strategy, _ = choose_strategy(folder, "auto")
    setup = Setup(config, folder, Preprocessing(strategy=strategy))
    return Trainer(setup, Console(quiet=True))


def _run_loop(data: Path, loop: str, epochs: int) -> dict[str, float]:
    """Run one loop in a separate process."""
    command = [sys.executable, __file__, str(data), "--loop", loop, "--epochs", str(epochs)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(data: Path, epochs: int, rounds: int) -> None:
    """Print the speed and accuracy of all loops, and the time of each part of our loop."""
    cpus = os.cpu_count() or 1
    loops = ["own", *(f"reference, workers {n}" for n in sorted({1, cpus}))]
    runs: dict[str, list[dict[str, float]]] = {loop: [] for loop in loops}
    for _ in range(rounds):
        for loop in loops:
            runs[loop].append(_run_loop(data, loop, epochs))
    speeds = {loop: median(run["speed"] for run in of) for loop, of in runs.items()}
    console, table = Console(), Table("loop", "images/s", "in each round", "test accuracy")
    for loop, of in runs.items():
        each = " ".join(f"{run['speed']:.1f}" for run in of)
        table.add_row(loop, f"{speeds[loop]:.1f}", each, f"{mean(r['accuracy'] for r in of):.1%}")
    console.print(table)
    fastest = max(speeds[loop] for loop in loops[1:])
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cpus} CPUs"
    console.print(f"{speeds['own'] / fastest:.2f} times as fast, on {device}, {epochs} epochs.")
    shares = Table("part of our loop", "ms per image")
    for name, milliseconds in _run_loop(data, "parts", epochs).items():
        shares.add_row(name, f"{milliseconds:.2f}")
    console.print(shares)


def main() -> None:
    """Compare all loops, or run the one that `--loop` names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "data", type=Path, nargs="?", help="image folder (default: a synthetic set)"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    options = parser.parse_args()
    data = options.data
    if data is None:
        data = Path(tempfile.mkdtemp()) / "pictures"
        synthesize(data)
    if options.loop is None:
        compare(data, options.epochs, options.rounds)
        return
    folder = split_folder(scan(data), Split())
    if options.loop == "own":
        result = own(folder, options.epochs)
    elif options.loop == "parts":
        result = parts(folder)
    else:
        result = reference(folder, options.epochs, int(options.loop.split()[-1]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
