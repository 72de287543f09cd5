"""How the parameters move: AdamW, a one-cycle schedule, and the average that is kept."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ml.training.config import Config


class Optimisation:
    """Optimiser, schedule and average for the parameters of a network that are trained.

    AdamW: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101. One cycle: Smith & Topin
    2018, https://arxiv.org/abs/1708.07120.
    """

    def __init__(self, network: nn.Module, config: Config, steps: int) -> None:
        """Plan for all epochs of `config`, of so many steps each."""
        self.network, self.config, self.steps = network, config, steps
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        backbone = [p for name, p in trained.items() if name.startswith("features.")]
        rest = [p for name, p in trained.items() if not name.startswith("features.")]
        head_rate = config.learning_rate
        self.rates = [
            head_rate if config.initial == "none" else config.backbone_learning_rate,
            head_rate,
        ]
        self.optimiser = torch.optim.AdamW(
            [{"params": backbone, "lr": self.rates[0]}, {"params": rest, "lr": self.rates[1]}],
            weight_decay=config.weight_decay,
        )
        self.average = AveragedModel(network, use_buffers=True)
        self.plan(config.epochs)

    def plan(self, epochs: int, done: int = 0) -> None:
        """Spread schedule and average over so many epochs, of which some steps are done."""
        total = epochs * self.steps
        # The schedule divides by its rising steps less one, which must not be none.
        rising = max(0.2, min(2 / total, 0.9))
        self.schedule = OneCycleLR(
            self.optimiser, self.rates, total_steps=total, pct_start=rising, last_epoch=done - 1
        )
        # A short run averages over less, or its average would still be the start.
        wanted = min(self.config.averaged_epochs * self.steps, max(2.0, total / 5))
        decay = 1 - 1 / max(1.0, wanted)  # at 0 the average is the parameters themselves
        self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @property
    def rate(self) -> float:
        """The learning rate of the layers after the backbone."""
        return float(self.schedule.get_last_lr()[-1])

    def step(self) -> None:
        """Move the parameters by their gradients, and the average after them."""
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.schedule.step()
        self.average.update_parameters(self.network)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any], epochs: int) -> None:
        """Go back to where `state` was taken, in a run of so many epochs."""
        self.plan(epochs)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
