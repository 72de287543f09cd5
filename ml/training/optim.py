"""AdamW with a one-cycle learning rate schedule, and the EMA of the parameters."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ml.training.config import Config


class Optimiser:
    """Optimiser, learning rate schedule and EMA of a network's trainable parameters.

    AdamW: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101. One cycle: Smith & Topin
    2018, https://arxiv.org/abs/1708.07120.
    """

    def __init__(self, network: nn.Module, config: Config, steps_per_epoch: int) -> None:
        self.network, self.config, self.steps_per_epoch = network, config, steps_per_epoch
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        backbone = [p for name, p in trained.items() if name.startswith("features.")]
        head = [p for name, p in trained.items() if not name.startswith("features.")]
        head_rate = config.learning_rate
        backbone_rate = head_rate if config.initial == "none" else config.backbone_learning_rate
        self.max_rates = [backbone_rate, head_rate]
        self.adamw = torch.optim.AdamW(
            [{"params": backbone, "lr": backbone_rate}, {"params": head, "lr": head_rate}],
            weight_decay=config.weight_decay,
        )
        self.ema = AveragedModel(network, use_buffers=True)
        self.plan(config.epochs)

    def plan(self, epochs: int, steps_done: int = 0) -> None:
        """Set the learning rate schedule and the EMA decay for a run of `epochs`."""
        total = epochs * self.steps_per_epoch
        # OneCycleLR: cosine, up for the first fifth of the steps from 1/25 of the rate, then down
        # to almost 0. It divides by the number of rising steps less one, which must not be zero.
        rising_fraction = max(0.2, min(2 / total, 0.9))
        self.schedule = OneCycleLR(
            self.adamw, self.max_rates, total, pct_start=rising_fraction, last_epoch=steps_done - 1
        )
        # In a short run the EMA covers fewer steps; else it would be mostly initial values.
        steps = min(self.config.averaged_epochs * self.steps_per_epoch, max(2.0, total / 5))
        decay = 1 - 1 / max(1.0, steps)  # at 0 the EMA equals the parameters
        self.ema.multi_avg_fn = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the layers after the backbone."""
        return float(self.schedule.get_last_lr()[-1])

    def step(self) -> None:
        """Update the parameters, the learning rate and the EMA."""
        self.adamw.step()
        self.adamw.zero_grad()
        self.schedule.step()
        self.ema.update_parameters(self.network)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "average": self.ema.state_dict(),
            "optimiser": self.adamw.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], epochs: int) -> None:
        """Restore what `state_dict` returned, in a run of `epochs`."""
        self.plan(epochs)
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["average"])
        self.adamw.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
