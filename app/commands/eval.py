"""Score a model: bits per byte and perplexity on text, multiple choice, and by a reward model pairs and win rates.

eval FILES                                        bits per byte, perplexity, and what `xz -9` needs
eval --choices FILES                              accuracy by likelihood, beside what guessing gives
eval --pairs FILES --reward-model RM              the reward model's accuracy, beside "the longer answer wins"
eval --against OTHER --prompts FILES --reward-model RM        how often the model's answers are preferred
"""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.model_option import add_model_options, describe, open_model
from core.config.param_config import LoadConfig
from core.config.schema import given_options
from core.errors import ConfigError
from core.files import write_json

if TYPE_CHECKING:
    from core.evaluation import RewardScorer
    from core.inference.generator import LanguageModel


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", help="files of the kinds that `prepare` reads, or folders of them")
    add_model_options(parser)
    parser.add_argument("--choices", nargs="+", default=[], metavar="FILE", help="multiple-choice questions")
    parser.add_argument("--max-questions", type=int, metavar="N", help="N questions spread over each file")
    parser.add_argument("--reward-model", metavar="RM", help="run or folder of a reward model")
    parser.add_argument("--pairs", nargs="+", default=[], metavar="FILE", help="pairs that the reward model judges")
    parser.add_argument("--against", metavar="OTHER", help="run or model folder whose answers are compared")
    parser.add_argument("--prompts", nargs="+", default=[], metavar="FILE", help="what both models answer")
    parser.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="of each answer (default 128)")
    parser.add_argument("--temperature", type=float, metavar="X", help="of the answers; without it each model's own")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on a line of its own")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write that object to a file")


def run(arguments: Namespace) -> int:
    problems = _problems(arguments)
    if problems:
        raise ConfigError("; ".join(problems) + ".", "See `python launch.py eval --help`.")
    report: dict[str, Any] = {}
    if arguments.files or arguments.choices or arguments.against:
        model = open_model(arguments)
        print(describe(model))
        report["model"] = model.name
        if arguments.files:
            report["results"] = _texts(model, arguments)
        if arguments.choices:
            report["choices"] = _choices(model, arguments)
    if arguments.reward_model:
        from core.evaluation import RewardScorer

        device = LoadConfig.from_dict(given_options(arguments, LoadConfig)).device
        scorer = RewardScorer.load(arguments.reward_model, device=device)
        report["reward_model"] = arguments.reward_model
        if arguments.pairs:
            report["pairs"] = _pairs(scorer, arguments)
        if arguments.against:
            report["win_rate"] = _win_rate(model, scorer, arguments)
    if arguments.output:
        write_json(arguments.output, report)
    if arguments.json:
        print(json.dumps(report, ensure_ascii=False))
    return 0


def _problems(arguments: Namespace) -> list[str]:
    """What is missing for what was asked."""
    problems = []
    if not (arguments.files or arguments.choices or arguments.pairs or arguments.against):
        problems.append("nothing to score: give files, --choices, --pairs or --against")
    if (arguments.pairs or arguments.against) and not arguments.reward_model:
        problems.append("--pairs and --against need --reward-model")
    if bool(arguments.against) != bool(arguments.prompts):
        problems.append("--against and --prompts go together")
    if arguments.max_new_tokens < 1 or (arguments.max_questions or 1) < 1:
        problems.append("--max-new-tokens and --max-questions are at least 1")
    return problems


def _texts(model: "LanguageModel", arguments: Namespace) -> list[dict[str, Any]]:
    import core

    print(f"{'file':24} {'bytes':>11} {'tokens':>9} {'bits/byte':>10} {'xz -9':>7} {'perplexity':>11}")
    results = core.evaluate(model, arguments.files)
    for row in results:
        print(
            f"{row.file:24.24} {row.num_bytes:11,} {row.num_tokens:9,} {row.bits_per_byte:10.3f}"
            f" {row.xz_bits_per_byte:7.3f} {row.perplexity:11.2f}"
        )
    return [row.to_dict() for row in results]


def _choices(model: "LanguageModel", arguments: Namespace) -> list[dict[str, Any]]:
    from core.evaluation import evaluate_choices

    print(f"{'questions':32} {'n':>6} {'chance':>7} {'accuracy':>20} {'by bytes':>20}")
    results = evaluate_choices(model, arguments.choices, max_questions=arguments.max_questions)
    for row in results:
        cut = f"  {row.num_cut:,} lost their beginning to fit" if row.num_cut else ""
        print(
            f"{row.file:32.32} {row.num_questions:6,} {row.chance:7.1%} {_share(row.accuracy, row.interval):>20}"
            f" {_share(row.normalised_accuracy, row.normalised_interval):>20}{cut}"
        )
    return [row.to_dict() for row in results]


def _pairs(scorer: "RewardScorer", arguments: Namespace) -> list[dict[str, Any]]:
    from core.evaluation import evaluate_pairs

    print(f"{'pairs':32} {'n':>6} {'accuracy':>20} {'longer wins':>12}")
    results = evaluate_pairs(scorer, arguments.pairs)
    for row in results:
        left_out = f"  {row.num_left_out:,} are too long" if row.num_left_out else ""
        share = _share(row.accuracy, row.interval)
        print(f"{row.file:32.32} {row.num_pairs:6,} {share:>20} {row.longer_wins:12.1%}{left_out}")
    return [row.to_dict() for row in results]


def _win_rate(model: "LanguageModel", scorer: "RewardScorer", arguments: Namespace) -> dict[str, Any]:
    import core
    from core.evaluation import win_rate

    other = core.load(arguments.against, **given_options(arguments, LoadConfig))
    sampling = {} if arguments.temperature is None else {"temperature": arguments.temperature}
    result = win_rate(model, other, scorer, arguments.prompts, max_new_tokens=arguments.max_new_tokens, **sampling)
    print(
        f"{model.name} against {other.name}, {result.num_prompts:,} prompts: {result.wins:,} wins,"
        f" {result.ties:,} ties, {result.losses:,} losses, {_share(result.win_rate, result.interval)} won;"
        f" reward {result.reward:.3f} against {result.other_reward:.3f},"
        f" {result.answer_tokens:.0f} tokens an answer against {result.other_answer_tokens:.0f}"
    )
    if result.num_left_out:
        print(f"{result.num_left_out:,} prompts leave no room for an answer and were left out")
    return {"against": other.name, **result.to_dict()}


def _share(share: float, interval: tuple[float, float]) -> str:
    """`61.2 % (58.9-63.5)`: with its 95 % interval."""
    return f"{share:.1%} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"
