"""Turn files into a token data set: txt, md, jsonl, json, csv and parquet, also compressed, in archives and folders.

python launch.py prepare texts/ --output data/pt
python launch.py prepare chats.jsonl --output data/sft --tokenizer runs/my-run/model
python launch.py prepare texts/ --output data/pt --train-tokenizer 8192
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.paths import starter_dir
from core.config.prepare_config import PrepareConfig
from core.config.schema import add_options, given_options

if TYPE_CHECKING:
    from core.data.prepare import PrepareReport, SourceReport

SAMPLE_CHARS = 100_000_000
MAX_SOURCES = 30
MAX_PROBLEMS = 8


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files and folders")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--tokenizer", type=Path, help="folder with the tokenizer to use (default: the starter's)")
    parser.add_argument("--train-tokenizer", type=int, metavar="SIZE", help="learn a vocabulary of this size instead")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on a line of its own")
    add_options(parser, PrepareConfig)


def run(arguments: Namespace) -> int:
    from core.data.prepare import check_paths, prepare
    from core.data.sample import sample_texts
    from core.data.tokenizer import Tokenizer

    config = PrepareConfig.from_dict(given_options(arguments, PrepareConfig))
    files = check_paths(arguments.paths, arguments.output)
    if arguments.train_tokenizer is not None:
        print(f"Learning a vocabulary of {arguments.train_tokenizer} pieces …", flush=True)
        tokenizer = Tokenizer.train(sample_texts(files, SAMPLE_CHARS), vocab_size=arguments.train_tokenizer)
    else:
        tokenizer = Tokenizer.load(arguments.tokenizer or starter_dir())
    progress = _Progress()
    try:
        report = prepare(arguments.paths, arguments.output, tokenizer, config, progress=progress.show)
    finally:
        progress.close()
    _print_sources(list(report.sources.values()))
    _print_report(report, arguments.output)
    if arguments.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    return 0


def _print_sources(sources: "list[SourceReport]") -> None:
    """A line per file, the largest files of many, and one line for the others."""
    print(f"{'file':44} {'documents':>9} {'kept':>9} {'duplicate':>9} {'bad':>6} {'MB':>8} {'tokens':>12}")
    largest = {id(source) for source in sorted(sources, key=lambda source: -source.bytes)[:MAX_SOURCES]}
    for source in sources:
        if id(source) in largest:
            _print_source(source.file, [source])
    others = [source for source in sources if id(source) not in largest]
    if others:
        _print_source(f"… {len(others):,} smaller files", others)


def _print_source(name: str, sources: "list[SourceReport]") -> None:
    documents, kept, duplicates, bad, size, tokens = (
        sum(getattr(source, field) for source in sources)
        for field in ("documents", "kept", "duplicates", "bad", "bytes", "tokens")
    )
    print(f"{name[-44:]:44} {documents:9,} {kept:9,} {duplicates:9,} {bad:6,} {size / 1e6:8.2f} {tokens:12,}")


def _print_report(report: "PrepareReport", output: Path) -> None:
    from core.data.records import place_text

    for file, row, what in report.problems[:MAX_PROBLEMS]:
        print(f"  left out: {place_text(file, row)}: {what}")
    if report.num_problems > MAX_PROBLEMS:
        print(f"  … and {report.num_problems - MAX_PROBLEMS:,} more, listed in {output / 'dataset.json'}")
    print(
        f"{report.kind} data in {output}: {report.num_tokens:,} tokens, {report.num_validation:,} documents held out,"
        f" {report.num_exact_duplicates:,} equal and {report.num_near_duplicates:,} similar ones dropped."
    )
    if not report.num_validation:
        print("Nothing was held out: no group of similar documents fits. Raise --validation-ratio or give more text.")


class _Progress:
    """A bar per pass with rate and time to go."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._phase = ""

    def show(self, phase: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if phase != self._phase:
            from tqdm import tqdm

            self.close()
            self._phase = phase
            self._bar = tqdm(total=total, unit="B", unit_scale=True, desc=phase)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
