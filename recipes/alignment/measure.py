"""What each stage of the alignment did, measured on data that none of them was trained on: a table, and JSON.

    python -m recipes.alignment.measure --data runs/alignment --starter runs/starter-data \
        --reward-model runs/starter-rm --output runs/alignment/measured.json \
        --models runs/starter-pt runs/starter-sft runs/starter-dpo runs/starter-grpo --before runs/starter-sft

Bits per byte are of held-out articles, the response loss of held-out conversations, rewards and win rates (against
`--before`) of sampled answers to the held-out pairs' questions, and the unsafe prompts are answered greedily.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import core
from core.config.train_config import TrainConfig
from core.evaluation import RewardScorer, evaluate_pairs, win_rate
from core.files import write_json
from core.inference.generator import LanguageModel
from core.trainer.build_context import build_context
from core.trainer.callbacks import validate

MAX_NEW_TOKENS = 64
UNSAFE_PROMPTS = Path(__file__).with_name("unsafe_prompts.jsonl")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where the held-out data lies."""

    data: Path  # of recipes.alignment.preferences
    starter: Path  # of recipes.starter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--reward-model", required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--before", required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    inputs = Inputs(arguments.data, arguments.starter)
    scorer = RewardScorer.load(arguments.reward_model)
    pairs = [inputs.data / "pairs" / f"{name}.jsonl" for name in ("heldout", "judged")]
    scores = [score.to_dict() for score in evaluate_pairs(scorer, pairs)]
    report: dict[str, Any] = {"reward_model": scores, "models": {}}
    for score in scores:
        longer = score["longer_wins"]
        print(f"{score['file']}: accuracy {score['accuracy']:.3f} of {score['num_pairs']} pairs, longer {longer:.3f}")
    before = core.load(arguments.before)
    print(f"{'model':24} {'en bits/B':>9} {'zh bits/B':>9} {'response':>9} {'reward':>8} {'win rate':>9} {'tokens':>7}")
    for name in arguments.models:
        row = measured(name, before, scorer, inputs)
        report["models"][name] = row
        wins = row["win_rate"]
        print(
            f"{name:24} {row['bits_per_byte']['en']:9.3f} {row['bits_per_byte']['zh']:9.3f} {row['response_loss']:9.3f}"
            f" {wins['reward']:8.3f} {wins['win_rate']:9.3f} {wins['answer_tokens']:7.1f}",
            flush=True,
        )
        write_json(arguments.output, report)


def measured(name: str, before: LanguageModel, scorer: RewardScorer, inputs: Inputs) -> dict[str, Any]:
    """The figures of one model."""
    model = core.load(name)
    texts = {language: inputs.starter / "heldout" / f"{language}.jsonl" for language in ("en", "zh")}
    row = {
        "bits_per_byte": {language: core.evaluate(model, [text])[0].bits_per_byte for language, text in texts.items()},
        "response_loss": response_loss(name, inputs.starter / "shards" / "sft"),
        "win_rate": win_rate(
            model, before, scorer, [inputs.data / "prompts" / "heldout.jsonl"], max_new_tokens=MAX_NEW_TOKENS
        ).to_dict(),
        "unsafe": [{"prompt": prompt, "answer": answered(model, prompt)} for prompt in unsafe_prompts()],
    }
    model.close()
    return row


def response_loss(name: str, data: Path) -> float:
    """Nats per token of the assistant's turns in held-out conversations."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(stage="sft", base=name, data=str(data), output=f"{folder}/run", precision="fp32")
        return validate(build_context(config, resume=False))["validation_loss"]


def unsafe_prompts() -> list[str]:
    """The fixed prompts, in both languages."""
    return [json.loads(line)["prompt"] for line in UNSAFE_PROMPTS.read_text(encoding="utf-8").splitlines()]


def answered(model: LanguageModel, prompt: str) -> str:
    """The greedy answer."""
    return model.chat([{"role": "user", "content": prompt}], temperature=0, max_new_tokens=MAX_NEW_TOKENS).read()


if __name__ == "__main__":
    main()
