"""What each stage of the alignment did, measured on data that none of them was trained on: a table, and JSON.

    python -m recipes.alignment.measure --data runs/alignment --starter runs/starter-data \
        --reward-model runs/starter-rm --output runs/alignment/measured.json \
        --models runs/starter-pt runs/starter-sft runs/starter-dpo runs/starter-grpo --before runs/starter-sft \
        --rl recipes/alignment/grpo.json

Bits per byte are of held-out articles, the response loss of held-out conversations, rewards and win rates (against
`--before`) of sampled answers to the held-out pairs' questions, and the unsafe prompts are answered greedily. `--rl`
names the run that learnt from rewards: each model answers its held-out prompts too, with the same seeds, and is
compared to the model that it began as.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import core
from core.config.train_config import TrainConfig
from core.evaluation import RewardScorer, evaluate_pairs, win_rate
from core.files import write_json
from core.inference.generator import LanguageModel
from core.model.checkpoint import find_model, load_model
from core.trainer.build_context import build_context
from core.trainer.callbacks import validate
from core.trainer.rlhf import RLHFStrategy
from core.trainer.train_context import TrainContext

MAX_NEW_TOKENS, NUM_SAMPLES = 64, 12
COLUMNS = ("en bits/B", "zh bits/B", "response", "reward", "win rate", "tokens")
UNSAFE_PROMPTS = Path(__file__).with_name("unsafe_prompts.jsonl")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where the held-out data lies, and what judges."""

    data: Path  # of recipes.alignment.preferences
    starter: Path  # of recipes.starter
    scorer: RewardScorer
    before: LanguageModel
    rl: TrainContext | None  # of the run that learnt from rewards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--reward-model", required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--before", required=True)
    parser.add_argument("--rl", type=Path, help="config of a run of stage ppo or grpo")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    scorer, before = RewardScorer.load(arguments.reward_model), core.load(arguments.before)
    with ExitStack() as stack:
        rl = stack.enter_context(context_of(TrainConfig.from_json(arguments.rl))) if arguments.rl else None
        inputs = Inputs(arguments.data, arguments.starter, scorer, before, rl)
        report: dict[str, Any] = {"reward_model": judged(inputs), "models": {}}
        print(f"{'model':24}", *(f"{column:>9}" for column in COLUMNS))
        for name in arguments.models:
            row = report["models"][name] = measured(name, inputs)
            bits, wins = row["bits_per_byte"], row["win_rate"]
            figures = (
                bits["en"],
                bits["zh"],
                row["response_loss"],
                wins["reward"],
                wins["win_rate"],
                wins["answer_tokens"],
            )
            print(f"{name:24}", *(f"{figure:9.3f}" for figure in figures), flush=True)
            if rl:
                row["rl"] = rewarded(name, rl)
                print("    " + ", ".join(f"{key} {value:.4f}" for key, value in row["rl"]["means"].items()), flush=True)
            write_json(arguments.output, report)


@contextmanager
def context_of(config: TrainConfig) -> Iterator[TrainContext]:
    """A run's parts as they are before its first step; the folder of the run is an empty one that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        yield build_context(dataclasses.replace(config, output=folder), resume=False)


def judged(inputs: Inputs) -> list[dict[str, Any]]:
    """How often the reward model is right."""
    pairs = [inputs.data / "pairs" / f"{name}.jsonl" for name in ("heldout", "judged")]
    scores = [score.to_dict() for score in evaluate_pairs(inputs.scorer, pairs)]
    for score in scores:
        longer = score["longer_wins"]
        print(f"{score['file']}: accuracy {score['accuracy']:.3f} of {score['num_pairs']} pairs, longer {longer:.3f}")
    return scores


def measured(name: str, inputs: Inputs) -> dict[str, Any]:
    """The figures of one model."""
    model = core.load(name)
    texts = {language: inputs.starter / "heldout" / f"{language}.jsonl" for language in ("en", "zh")}
    row = {
        "bits_per_byte": {language: core.evaluate(model, [text])[0].bits_per_byte for language, text in texts.items()},
        "response_loss": response_loss(name, inputs.starter / "shards" / "sft"),
        "win_rate": win_rate(
            model,
            inputs.before,
            inputs.scorer,
            [inputs.data / "prompts" / "heldout.jsonl"],
            max_new_tokens=MAX_NEW_TOKENS,
        ).to_dict(),
        "unsafe": [{"prompt": prompt, "answer": answered(model, prompt)} for prompt in unsafe_prompts()],
    }
    model.close()
    return row


def response_loss(name: str, data: Path) -> float:
    """Nats per token of the assistant's turns in held-out conversations."""
    with context_of(TrainConfig(stage="sft", base=name, data=str(data), output="", precision="fp32")) as context:
        return validate(context)["validation_loss"]


@torch.no_grad()
def rewarded(name: str, context: TrainContext) -> dict[str, Any]:
    """Means over the run's held-out prompts when this model answers them, and some of its answers."""
    context.model.load_state_dict(load_model(find_model(Path(name)), dtype=torch.float32).state_dict())
    strategy, rows, decode = context.strategy, context.validation_rows, context.tokenizer.decode
    assert isinstance(strategy, RLHFStrategy)
    assert rows is not None
    total = rows.num_rows(0)
    places = [(0, number * total // NUM_SAMPLES) for number in range(NUM_SAMPLES)]
    experience = strategy.held_out(context, [rows.batch(places)])
    samples = [
        {"prompt": decode(group.prompt_ids), "answer": decode(ids), "reward": experience.rewards[number].item()}
        for group in experience.groups
        for number, ids in group.completions.items()
    ]
    return {"means": validate(context), "samples": samples}


def unsafe_prompts() -> list[str]:
    """The fixed prompts, in both languages."""
    return [json.loads(line)["prompt"] for line in UNSAFE_PROMPTS.read_text(encoding="utf-8").splitlines()]


def answered(model: LanguageModel, prompt: str) -> str:
    """The greedy answer."""
    return model.chat([{"role": "user", "content": prompt}], temperature=0, max_new_tokens=MAX_NEW_TOKENS).read()


if __name__ == "__main__":
    main()
