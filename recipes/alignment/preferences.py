"""Gather the preference pairs and prompts that the starter is aligned with.

    python -m recipes.alignment.preferences --data DATA --starter OUT --output runs/alignment

reads DATA/preference and the conversations that `recipes.starter.conversations` wrote to OUT, and writes

    pairs/rm.jsonl, pairs/dpo.jsonl      what the reward model and DPO learn from
    pairs/heldout.jsonl                  pairs that nothing is trained on
    pairs/judged.jsonl                   benchmarks of judges: only measured on
    prompts/rl.jsonl                     conversations whose questions RL answers
    prompts/heldout.jsonl                questions of the held-out pairs
    preferences.json                     what was taken

No prompt, nor one like it, is in two of the sets. Which set one falls into hangs on a hash of its text.
Half of the pairs are judged ones, the others are made by rule from our own conversations.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dedup import shingles
from core.data.formats import Preference
from core.data.tokenizer import Tokenizer
from core.files import write_json
from recipes.alignment.faults import is_chinese, worse_answer
from recipes.alignment.safety import safety_pairs
from recipes.alignment.sources import JUDGED, TRAINED, Pair, Source
from recipes.starter.collect import draw

UNSAFE = Path(__file__).with_name("unsafe_prompts.jsonl")
HELDOUT_SHARE = 0.15
# Prompts that share this part of their 5-word runs count as one.
SAME_PROMPT = 0.6
# The starter learnt rows of 512 tokens, the chat template's own among them.
MAX_TOKENS, MAX_PROMPT_TOKENS = 490, 256
MAX_RL_PROMPT_TOKENS, NUM_RL_PROMPTS = 128, 2000

Conversation = list[dict[str, str]]


def judged_pairs(sources: Iterable[Source], data: Path, tokenizer: Tokenizer) -> list[Pair]:
    """The pairs of the sources that are short enough; none is cut, since the judgement was of the whole."""
    pairs = (Pair(pair, source.path) for source in sources for pair in source.read(data / "preference" / source.path))
    return [pair for pair in pairs if fits(pair, tokenizer)]


def fits(pair: Pair, tokenizer: Tokenizer) -> bool:
    prompt = len(tokenizer.encode(pair.prompt))
    answers = (len(tokenizer.encode(answer)) for answer in (pair.preference.chosen, pair.preference.rejected))
    return prompt <= MAX_PROMPT_TOKENS and prompt + max(answers) <= MAX_TOKENS


def single_turns(path: Path) -> list[Conversation]:
    """Conversations of one question and one answer."""
    rows = (json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if len(row) == 2]


def made_pairs(conversations: Sequence[Conversation]) -> list[Pair]:
    """One pair for each conversation: its answer against one that is worse by a rule of `faults`."""
    answers = [row[-1]["content"] for row in conversations]
    by_language = {chinese: [text for text in answers if is_chinese(text) == chinese] for chinese in (False, True)}
    pairs = []
    for row in conversations:
        question, answer = row[0]["content"], row[-1]["content"]
        chinese = is_chinese(answer)
        fault, worse = worse_answer(
            question, answer, (by_language[chinese], by_language[not chinese]), random.Random(f"fault {question}")
        )
        pairs.append(Pair(Preference(row[:1], answer, worse), f"made: {fault}"))
    return pairs


def first_of_each(prompts: Sequence[str]) -> list[bool]:
    """Whether a prompt is unlike all those before it that are kept; exact, unlike the sketches of `prepare`."""
    holders: dict[str, list[int]] = defaultdict(list)  # the kept prompts that have a run of words
    sizes: list[int] = []
    kept: list[bool] = []
    for number, prompt in enumerate(prompts):
        runs = shingles(prompt)
        shared = Counter(other for run in runs for other in holders[run])
        is_new = all(count < SAME_PROMPT * (len(runs) + sizes[other] - count) for other, count in shared.items())
        for run in runs if is_new else ():
            holders[run].append(number)
        sizes.append(len(runs))
        kept.append(is_new)
    return kept


def set_of(text: str, heldout_share: float) -> str:
    """rm, dpo or heldout, by hash; the first two are of equal size."""
    place = draw(text, "set")
    if place < heldout_share:
        return "heldout"
    return "rm" if place < (1 + heldout_share) / 2 else "dpo"


def collect(data: Path, starter: Path, tokenizer: Tokenizer) -> dict[str, list[dict[str, Any]]]:
    """The rows of every file, by its path without suffix."""
    benchmark = judged_pairs(JUDGED, data, tokenizer)
    unsafe = [json.loads(line)["prompt"] for line in UNSAFE.read_text(encoding="utf-8").splitlines()]
    real = judged_pairs(TRAINED, data, tokenizer)
    heldout, train = (single_turns(starter / name) for name in ("heldout/sft.jsonl", "sft/train.jsonl"))
    taken = [*(pair.prompt for pair in benchmark), *unsafe]
    prompts = [*taken, *(pair.prompt for pair in real), *(row[0]["content"] for row in [*heldout, *train])]
    kept = iter(first_of_each(prompts)[len(taken) :])
    real = [pair for pair in real if next(kept)]
    heldout = [row for row in heldout if next(kept)]
    train = sorted((row for row in train if next(kept)), key=lambda row: draw(row[0]["content"], "row"))

    made = [pair for pair in made_pairs(train[: 2 * len(real)]) if fits(pair, tokenizer)][: len(real)]
    sets: dict[str, list[Pair]] = {"rm": [], "dpo": [], "heldout": [], "judged": benchmark}
    for pair in real:
        sets[set_of(pair.prompt, HELDOUT_SHARE)].append(pair)
    for act, preference in safety_pairs():
        sets[set_of(act, HELDOUT_SHARE)].append(Pair(preference, "made: safety"))
    for pair in made:  # the starter has seen these questions: none is held out
        sets[set_of(pair.prompt, 0)].append(pair)
    sets["heldout"] += [pair for pair in made_pairs(heldout) if fits(pair, tokenizer)]
    return {
        **{f"pairs/{name}": [pair.to_dict() for pair in pairs] for name, pairs in sets.items()},
        "prompts/rl": rl_prompts(train, {pair.prompt for pair in made}, tokenizer),
        "prompts/heldout": [{"messages": pair.preference.messages} for pair in sets["heldout"]],
    }


def rl_prompts(rows: Iterable[Conversation], used: set[str], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The first short questions that no pair has, with their answers."""
    free = (row for row in rows if row[0]["content"] not in used)
    short = [{"messages": row} for row in free if len(tokenizer.encode(row[0]["content"])) <= MAX_RL_PROMPT_TOKENS]
    return short[:NUM_RL_PROMPTS]


def described(rows: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> dict[str, Any]:
    """Counts, lengths in tokens (medians) and how often the longer answer is the better one, ties as half."""
    if "chosen" not in rows[0]:
        return {"rows": len(rows)}
    prompts = [sum(len(tokenizer.encode(message["content"])) for message in row["messages"]) for row in rows]
    chosen, rejected = ([len(tokenizer.encode(row[name])) for row in rows] for name in ("chosen", "rejected"))
    wins = [(good > bad) + (good == bad) / 2 for good, bad in zip(chosen, rejected, strict=True)]
    lengths = {"prompt": prompts, "chosen": chosen, "rejected": rejected}
    return {
        "rows": len(rows),
        "median_tokens": {name: float(np.median(values)) for name, values in lengths.items()},
        "longer_wins": round(float(np.mean(wins)), 4),
        "sources": dict(Counter(row["source"] for row in rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--starter", type=Path, required=True, help="folder that recipes.starter wrote to")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.load(arguments.starter / "tokenizer")
    report: dict[str, Any] = {"licences": {source.path: source.licence for source in (*TRAINED, *JUDGED)}}
    for name, rows in collect(arguments.data, arguments.starter, tokenizer).items():
        path = arguments.output / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        report[name] = described(rows, tokenizer)
        print(f"{name:16} {json.dumps(report[name], ensure_ascii=False)}")
    write_json(arguments.output / "preferences.json", report)


if __name__ == "__main__":
    main()
