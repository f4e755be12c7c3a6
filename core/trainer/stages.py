"""Which strategy a stage of training has."""

from typing import Any

from core.trainer.grpo import GRPOStrategy
from core.trainer.ppo import PPOStrategy
from core.trainer.strategy import PTStrategy, SFTStrategy, Strategy

STRATEGIES: dict[str, type[Strategy[Any]]] = {
    "pt": PTStrategy,
    "sft": SFTStrategy,
    "ppo": PPOStrategy,
    "grpo": GRPOStrategy,
}
