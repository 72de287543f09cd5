from pathlib import Path

import pytest
import torch

from ml.training.config import Config
from ml.training.optim import Optimiser


def step(optimiser: Optimiser) -> None:
    optimiser.network(torch.rand(5, 3)).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize(("epochs", "equal"), [(0.0, True), (2.0, False)])
def test_an_ema_over_zero_epochs_equals_the_parameters(epochs: float, equal: bool) -> None:
    torch.manual_seed(1)
    network = torch.nn.Linear(3, 2)
    config = Config(output=Path(), epochs=5, averaged_epochs=epochs)
    optimiser = Optimiser(network, config, steps_per_epoch=4)
    for _ in range(8):
        step(optimiser)
    average = next(optimiser.ema.module.parameters())
    assert torch.equal(average, network.weight) == equal


@pytest.mark.parametrize("epochs", range(1, 8))
def test_the_learning_rate_rises_and_falls_in_a_run_of_any_length(epochs: int) -> None:
    config = Config(output=Path(), epochs=epochs)
    optimiser = Optimiser(torch.nn.Linear(3, 2), config, steps_per_epoch=1)
    rates = [optimiser.learning_rate]
    for _ in range(epochs):
        step(optimiser)
        rates.append(optimiser.learning_rate)
    assert all(0 < rate <= config.learning_rate * 1.0001 for rate in rates[:-1])
    if epochs > 2:
        assert max(rates) == pytest.approx(config.learning_rate)
        assert rates[-2] < config.learning_rate / 1000
