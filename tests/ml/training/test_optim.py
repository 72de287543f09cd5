from pathlib import Path

import pytest
import torch

from ml.training.config import Config
from ml.training.optim import Optimisation


@pytest.mark.parametrize(("epochs", "follows"), [(0.0, True), (2.0, False)])
def test_averaging_over_no_epochs_is_no_averaging(epochs: float, follows: bool) -> None:
    torch.manual_seed(1)
    network = torch.nn.Linear(3, 2)
    config = Config(data=None, output=Path(), epochs=5, averaged_epochs=epochs)
    optimisation = Optimisation(network, config, steps=4)
    for _ in range(8):
        network(torch.rand(5, 3)).square().sum().backward()
        optimisation.step()
    average = next(optimisation.average.module.parameters())
    assert torch.equal(average, network.weight) == follows
