"""Gather the starter's fine-tuning conversations.

    python -m recipes.starter.conversations --data DATA --output OUT

reads DATA/sft and writes OUT/sft/train.jsonl and OUT/heldout/sft.jsonl ({"messages": [...]} lines) and
OUT/conversations.json with what was taken. Answers are kept short, since a small model learns short
ones better; long ones are cut at a paragraph's or sentence's end. Which rows are drawn and held out
depends on a hash of their text alone. Rows that quote the held-out pre-training text (OUT/heldout of
`collect`, which runs first) are left out.
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.starter.collect import draw
from recipes.starter.dialogues import dialogues

HELDOUT_SHARE = 0.01
QUOTE_CHARS = 40
DIALOGUES, DIALOGUE_SEED = 2700, 1
MAX_TURNS = 12
NAME, AUTHOR = "AstrAI", "the AstrAI team"
ROLES = ("user", "assistant")
Messages = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    path: str  # below DATA/sft
    licence: str
    share: float = 1.0
    max_answer_chars: int = 700
    repeats: int = 1
    only_short: bool = False  # leave long answers out instead of cutting them


SOURCES = (
    Source(
        path="mixed/translation-en-zh.jsonl.gz",
        licence="CC BY 2.0 FR, CC BY 4.0, CC BY-SA 4.0, MIT",
        share=0.6,
        max_answer_chars=120,
        only_short=True,
    ),
    Source(path="en/storytelling.jsonl.gz", licence="CC BY", max_answer_chars=1300, repeats=2),
    Source(path="zh/cooking-and-stories.jsonl.gz", licence="Unlicense, CC BY", max_answer_chars=450),
    Source(path="en/wikipedia-en-intro-qa.jsonl.gz", licence="CC BY-SA 4.0", share=0.25, max_answer_chars=300),
    Source(path="zh/wikipedia-zh-intro-qa.jsonl.gz", licence="CC BY-SA 4.0", share=0.28, max_answer_chars=140),
    Source(path="zh/xiehouyu-completion.jsonl.gz", licence="MIT", share=0.2),
    Source(path="zh/crosswoz-val-dialogues.jsonl.gz", licence="Apache-2.0", share=0.8),
    Source(path="zh/kdconv-travel-dev.jsonl.gz", licence="Apache-2.0"),
    Source(path="zh/kdconv-film-dev.json.gz", licence="Apache-2.0"),
    Source(path="zh/kdconv-music-dev.json.gz", licence="Apache-2.0"),
    Source(path="en/sgd-dialogues.jsonl.gz", licence="CC BY-SA 4.0", share=0.08),
    Source(path="en/star-dialogues.jsonl.gz", licence="MIT", share=0.1),
    Source(path="en/rasbt-instruction-data.json", licence="Apache-2.0", repeats=2),
    Source(path="en/llamafactory-alpaca_en_demo.json", licence="Apache-2.0", max_answer_chars=600),
    Source(path="zh/llamafactory-alpaca_zh_demo.json", licence="Apache-2.0", max_answer_chars=260),
    Source(path="mixed/llamafactory-identity.json", licence="Apache-2.0", repeats=3),
    Source(path="en/gpteacher-roleplay.json.gz", licence="MIT", max_answer_chars=500, share=0.5),
    Source(path="en/self-instruct-seed_tasks.jsonl", licence="Apache-2.0", max_answer_chars=400),
    Source(path="zh/extra-terms-152.json", licence="MIT", max_answer_chars=200),
)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        if ".jsonl" in path.name:
            yield from (json.loads(line) for line in file)
        else:
            yield from json.load(file)


def conversation(row: dict[str, Any]) -> Messages:
    """Alternating user and assistant messages; empty when the row has none."""
    if "instances" in row:
        row = {**row, **row["instances"][0]}
    if "instruction" in row:
        question = "\n".join(part for part in (row["instruction"], row.get("input", "")) if part)
        texts = [question, row.get("output") or row.get("response") or ""]
    else:
        texts = [turn.get("content") or turn.get("message") or "" for turn in row["messages"]]
    texts = texts[: len(texts) // 2 * 2][:MAX_TURNS]
    if not texts or not all(text.strip() for text in texts):
        return []
    texts = [text.replace("{{name}}", NAME).replace("{{author}}", AUTHOR).strip() for text in texts]
    return [{"role": ROLES[i % 2], "content": text} for i, text in enumerate(texts)]


def shortened(messages: Messages, source: Source) -> Messages:
    """With answers of at most `max_answer_chars`, or empty when they must not be cut."""
    short = []
    for message in messages:
        text, limit = message["content"], source.max_answer_chars
        if len(text) > 4 * limit:
            return []
        if message["role"] == "assistant" and len(text) > limit:
            if source.only_short:
                return []
            ends = [text.rfind(mark, 0, limit) + len(mark.strip()) for mark in ("\n\n", "。", ". ", ".\n", "！", "? ")]
            text = text[: max(ends)].strip()
            if len(text) < limit // 4:
                return []
        short.append({**message, "content": text})
    return short


def heldout_text(output: Path) -> str:
    """All that `collect` held out, as one text."""
    files = (output / f"heldout/{language}.jsonl" for language in ("en", "zh"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return "\n".join(json.loads(line)["text"] for line in lines)


def quotes(messages: Messages, text: str) -> bool:
    """Whether a message begins with words of `text`."""
    return any(len(m["content"]) >= QUOTE_CHARS and m["content"][:QUOTE_CHARS] in text for m in messages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    for folder in ("sft", "heldout"):
        (arguments.output / folder).mkdir(parents=True, exist_ok=True)
    report = []
    kept_apart = heldout_text(arguments.output)
    with (
        (arguments.output / "sft/train.jsonl").open("w", encoding="utf-8") as train,
        (arguments.output / "heldout/sft.jsonl").open("w", encoding="utf-8") as heldout,
    ):
        for source in SOURCES:
            counts: Counter[str] = Counter()
            for row in rows(arguments.data / "sft" / source.path):
                counts["rows"] += 1
                messages = shortened(conversation(row), source)
                key = messages[0]["content"] if messages else ""
                if not messages or draw(key, "share") >= source.share:
                    continue
                if quotes(messages, kept_apart):
                    counts["quote held-out text"] += 1
                    continue
                is_heldout = draw(key, "heldout") < HELDOUT_SHARE
                counts["held out" if is_heldout else "kept"] += 1
                line = json.dumps({"messages": messages}, ensure_ascii=False) + "\n"
                (heldout if is_heldout else train).write(line * (1 if is_heldout else source.repeats))
            report.append({"path": source.path, "licence": source.licence, "repeats": source.repeats, **counts})
            print(f"{source.path:45} {counts['kept']:6,} × {source.repeats} of {counts['rows']:6,}")
        for messages in dialogues(DIALOGUES, DIALOGUE_SEED):
            train.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
        report.append({"path": "recipes/starter/dialogues.py", "licence": "ours", "kept": DIALOGUES})
        print(f"{'own dialogues':45} {DIALOGUES:6,}")
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (arguments.output / "conversations.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
