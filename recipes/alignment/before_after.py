"""How a policy answers held-out prompts before and after it has learnt from rewards.

    python -m recipes.alignment.before_after recipes/alignment/grpo.json --output runs/starter-grpo/before_after.json

Both models draw one answer to each prompt of the validation split with the same seeds.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import torch

from core.config.train_config import TrainConfig
from core.files import write_json
from core.model.checkpoint import find_model, load_model
from core.trainer.build_context import build_context
from core.trainer.callbacks import validate
from core.trainer.rlhf import RLHFStrategy
from core.trainer.train_context import TrainContext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="of the finished run")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--num-samples", type=int, default=12)
    arguments = parser.parse_args()
    config = TrainConfig.from_json(arguments.config)
    with tempfile.TemporaryDirectory() as empty:
        context = build_context(dataclasses.replace(config, output=empty), resume=False)
    found: dict[str, Any] = {"before": look(context, arguments.num_samples)}
    trained = load_model(find_model(Path(config.output)), dtype=torch.float32)
    context.model.load_state_dict(trained.state_dict())
    found["after"] = look(context, arguments.num_samples)
    write_json(arguments.output, found)
    for name in found["before"]["means"]:
        print(f"{name:20} {found['before']['means'][name]:10.4f} {found['after']['means'][name]:10.4f}")


@torch.no_grad()
def look(context: TrainContext, num_samples: int) -> dict[str, Any]:
    """Means over the held-out prompts, and some answers."""
    strategy, rows, decode = context.strategy, context.validation_rows, context.tokenizer.decode
    assert isinstance(strategy, RLHFStrategy)
    assert rows is not None
    total = rows.num_rows(0)
    places = [(0, number * total // num_samples) for number in range(num_samples)]
    experience = strategy.held_out(context, [rows.batch(places)])
    rewards = experience.rewards.tolist()
    samples = [
        {"prompt": decode(group.prompt_ids), "answer": decode(ids), "reward": rewards[number]}
        for group in experience.groups
        for number, ids in group.completions.items()
    ]
    return {"means": validate(context), "samples": samples}


if __name__ == "__main__":
    main()
