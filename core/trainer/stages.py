"""Which strategy a stage of training has."""

from typing import Any

from core.trainer.grpo import GRPOStrategy
from core.trainer.ppo import PPOStrategy
from core.trainer.preference import DPOStrategy, RMStrategy
from core.trainer.strategy import PTStrategy, SFTStrategy, Strategy

STRATEGIES: dict[str, type[Strategy[Any]]] = {
    "pt": PTStrategy,
    "sft": SFTStrategy,
    "rm": RMStrategy,
    "dpo": DPOStrategy,
    "ppo": PPOStrategy,
    "grpo": GRPOStrategy,
}
