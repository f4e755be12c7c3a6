"""Gather and clean the starter's pre-training text.

    python -m recipes.starter.collect --data DATA --output OUT

reads the sources of `sources.py` below DATA/pretrain and writes OUT/pt/{en,zh,both}.jsonl, the held-out
OUT/heldout/{en,zh}.jsonl, which nothing is trained on, and OUT/collect.json with what was taken. The
draw is by hash of the text: the same data gives the same files.
"""

import argparse
import gzip
import hashlib
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.starter.sources import SOURCES, Source

HELDOUT_SHARE = 0.012
MIN_CHARS = 30
ODD = re.compile(r"[^\w\s.,;:!?'\"()\-–—%/&，。、；：？！“”‘’（）《》〈〉「」『』·…—～*#`+=|@\[\]<>$€£°]")


def documents(path: Path) -> Iterator[str]:
    """Texts of a source file: JSON lines, parallel JSON lines or Markdown files in a tar."""
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".md") else None
                if file is not None:
                    yield _markdown(file.read().decode("utf-8", "replace"))
        return
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["text"] if "text" in row else f"{row['en']}\n{row['zh']}"


def clean(text: str, max_chars: int) -> str | None:
    """The beginning of a text up to a sentence's end, or None when it is not prose."""
    text = re.sub(r"[ \t\u3000\xa0]+", " ", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if len(text) > max_chars:
        cut = max(text.rfind(mark, 0, max_chars) for mark in ("。", ". ", "！", "？", "\n"))
        text = text[: cut + 1].strip() if cut > max_chars // 3 else text[:max_chars]
    odd = len(ODD.findall(text))
    digits = sum(char.isdigit() for char in text)
    is_prose = len(text) >= MIN_CHARS or "\n" in text
    return text if is_prose and odd <= 0.02 * len(text) and digits <= 0.12 * len(text) else None


def draw(text: str, salt: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, salt=salt.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def collect(source: Source, data: Path, writers: dict[str, Any]) -> Counter[str]:
    """Write one source's texts; returns what was counted."""
    counts: Counter[str] = Counter()
    holds_out = source.language != "both" and "wikipedia" in source.path
    for raw in documents(data / "pretrain" / source.path):
        counts["documents"] += 1
        text = clean(raw, source.max_chars)
        if text is None or draw(raw, "share") >= source.share:
            continue
        is_heldout = holds_out and draw(raw, "heldout") < HELDOUT_SHARE
        name = f"heldout-{source.language}" if is_heldout else source.language
        counts["held out" if is_heldout else "kept"] += 1
        counts["bytes"] += 0 if is_heldout else len(text.encode()) * source.repeats
        line = json.dumps({"text": text}, ensure_ascii=False) + "\n"
        writers[name].write(line * (1 if is_heldout else source.repeats))
    return counts


def _markdown(text: str) -> str:
    """Without images and links' addresses."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    for folder in ("pt", "heldout"):
        (arguments.output / folder).mkdir(parents=True, exist_ok=True)
    names = {language: f"pt/{language}.jsonl" for language in ("en", "zh", "both")}
    names |= {f"heldout-{language}": f"heldout/{language}.jsonl" for language in ("en", "zh")}
    writers = {name: (arguments.output / path).open("w", encoding="utf-8") for name, path in names.items()}
    report = []
    for source in SOURCES:
        counts = collect(source, arguments.data, writers)
        report.append({"path": source.path, "licence": source.licence, **counts})
        print(f"{source.path:55} {counts['kept']:7,} of {counts['documents']:7,}  {counts['bytes'] / 1e6:6.2f} MB")
    for writer in writers.values():
        writer.close()
    (arguments.output / "collect.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
