"""Files to a token data set: read twice, so that memory stays flat however large the input is.

The first pass hashes every document; equal and similar ones are dropped and whole groups of similar
ones, and of pairs of one prompt, are chosen for validation, so that it cannot leak. The second pass tokenises
what is kept, in several processes, and writes shards in the order of the input.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.config.prepare_config import PrepareConfig
from core.data.dedup import Duplicates, choose_validation, find_duplicates
from core.data.fingerprints import Fingerprints, fingerprints
from core.data.formats import Chat, Example, Preference, Text, UnrecognisedError, recognise
from core.data.mmap_file import TOKENIZER, MmapFileHandler, ShardWriter
from core.data.readers import NOT_READ, is_readable_name, read_file
from core.data.records import Record, Report, place_text
from core.data.streams import InputFile, input_files
from core.data.tokenise import Place, Tokenise, Tokenised
from core.data.tokenizer import Tokenizer
from core.data.workers import Workers
from core.errors import DataError, Sentence

BATCH_DOCUMENTS = 64
MAX_PROBLEMS = 1000
# How far into a file its kind is looked for, and how much of it decides.
KIND_RECORDS, KIND_EXAMPLES = 1000, 20

Progress = Callable[[str, int, int], None]
Item = TypeVar("Item")


@dataclass(slots=True)
class SourceReport:
    """What became of one file."""

    file: str
    documents: int = 0
    bytes: int = 0
    kept: int = 0
    duplicates: int = 0
    bad: int = 0
    tokens: int = 0


@dataclass(slots=True)
class PrepareReport:
    """What `prepare` did. `problems` are (file, line, what) of the first MAX_PROBLEMS bad rows."""

    kind: str = "pt"
    sources: dict[str, SourceReport] = field(default_factory=dict)
    problems: list[tuple[str, int, str]] = field(default_factory=list)
    num_problems: int = 0
    num_exact_duplicates: int = 0
    num_near_duplicates: int = 0
    num_other_kinds: int = 0
    num_validation: int = 0
    num_tokens: int = 0
    duplicate_examples: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        del values["sources"]
        return values


def prepare(
    paths: list[Path], output: Path, tokenizer: Tokenizer, config: PrepareConfig, *, progress: Progress | None = None
) -> PrepareReport:
    """Write the token data set `output` from files and folders.

    `progress(phase, done, total)` counts the bytes read. Raises DataError when a path does not exist,
    `output` is there already or cannot be written, or nothing usable is found.
    """
    files = check_paths(paths, output)
    try:
        return _Preparation(files, output, tokenizer, config, progress).run()
    except OSError as exc:
        raise DataError(
            "{path} cannot be written: {reason}.",
            "Check the disk's room and the folder's permissions.",
            path=output,
            reason=exc,
        ) from exc


def check_paths(paths: list[Path], output: Path) -> list[InputFile]:
    """The files to read. Raises DataError as `prepare` does, before any work."""
    if output.exists() and not (output.is_dir() and next(output.iterdir(), None) is None):
        raise DataError("{path} exists already.", "Choose another folder, or delete it.", path=output)
    files = input_files(paths, outside=output)
    if not files:
        raise DataError("There is no file in {paths}.", _KINDS_READ, paths=", ".join(map(str, paths)))
    return files


def main_kind(kinds_of_files: Iterable[Iterable[str]]) -> str | None:
    """The kind of most of the first examples of each file, None without any."""
    counts: Counter[str] = Counter()
    for kinds in kinds_of_files:
        counts.update(islice(kinds, KIND_EXAMPLES))
    return counts.most_common(1)[0][0] if counts else None


class _Preparation:
    """One call of `prepare`."""

    def __init__(
        self,
        found: list[InputFile],
        output: Path,
        tokenizer: Tokenizer,
        config: PrepareConfig,
        progress: Progress | None,
    ) -> None:
        self.files = [file for file in found if is_readable_name(file.name)]
        self.output, self.tokenizer, self.config, self.progress = output, tokenizer, config, progress
        self.workers = config.workers or os.cpu_count() or 1
        self.report = PrepareReport()
        for file in found:
            if not is_readable_name(file.name):
                self._problem(file.name, 0, NOT_READ)

    def run(self) -> PrepareReport:
        self.report.kind = self._kind()
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with Workers(self.workers) as workers, Fingerprints(self.output.parent) as scan:
            self._scan(workers, scan)
            threshold = self.config.near_duplicate_threshold
            duplicates = find_duplicates(scan.hashes, scan.signatures, threshold=threshold, groups=scan.groups)
            if not self.config.drop_duplicates:
                duplicates = replace(duplicates, kept=np.ones_like(duplicates.kept), num_exact=0, num_near=0)
            validation = self._choose_validation(scan, duplicates)
            self._count_duplicates(scan, duplicates)
            self._write(workers, scan, duplicates.kept, validation)
        return self.report

    def _kind(self) -> str:
        """The kind asked for, or that of most of the first examples of each file."""
        if self.config.kind != "auto":
            return self.config.kind
        problems = self.report.problems[:]
        kind = main_kind(_kinds(file, problems) for file in self.files)
        if kind is None:
            raise DataError(
                "Nothing usable was found in {files}. {problems}.",
                _KINDS_READ,
                files=_counted(self.files),
                problems=_told(problems),
            )
        return kind

    def _scan(self, workers: Workers, scan: Fingerprints) -> None:
        for batch in workers.map(fingerprints, _batches(self._examples("reading", is_first=True))):
            for place, digest, group, signed, num_bytes in batch:
                scan.add(place, digest, group, signed, num_bytes)
                source = self.report.sources[place[0]]
                source.documents += 1
                source.bytes += num_bytes
        if not len(scan):
            raise DataError(
                "No {wanted} document was found in {files}. {problems}.",
                _KINDS_READ,
                wanted=self.report.kind,
                files=_counted(self.files),
                problems=_told(self.report.problems),
            )

    def _choose_validation(self, scan: Fingerprints, duplicates: Duplicates) -> NDArray[np.bool_]:
        target = int(scan.sizes[duplicates.kept].sum() * self.config.validation_ratio)
        max_bytes = min(target, self.config.validation_max_bytes)
        return choose_validation(duplicates, scan.hashes, scan.sizes, max_bytes=max_bytes, seed=self.config.seed)

    def _count_duplicates(self, scan: Fingerprints, duplicates: Duplicates) -> None:
        self.report.num_exact_duplicates = duplicates.num_exact
        self.report.num_near_duplicates = duplicates.num_near
        for document, kept in enumerate(duplicates.kept):
            source = self.report.sources[scan.place(document)[0]]
            source.kept += int(kept)
            source.duplicates += int(not kept)
        self.report.duplicate_examples = [
            (place_text(*scan.place(dropped)), place_text(*scan.place(kept)))
            for dropped, kept in duplicates.near_pairs
            if not duplicates.kept[dropped]
        ]

    def _write(
        self, workers: Workers, scan: Fingerprints, kept: NDArray[np.bool_], validation: NDArray[np.bool_]
    ) -> None:
        writer = MmapFileHandler.writer(
            self.output,
            kind=self.report.kind,
            vocab_size=self.tokenizer.vocab_size,
            fingerprint=self.tokenizer.fingerprint,
        )
        with writer:
            folder = writer.temporary / TOKENIZER
            self.tokenizer.save(folder)
            wanted = (
                ("validation" if validation[document] else "train", place, example)
                for document, (place, example) in enumerate(self._examples_again(scan))
                if kept[document]
            )
            for batch in workers.map(Tokenise(folder, self.tokenizer.fingerprint), _batches(wanted)):
                for tokenised in batch:
                    self._add(writer, tokenised)
            if not self.report.num_tokens:
                raise DataError(
                    "No document gave any token. {problems}.", _KINDS_READ, problems=_told(self.report.problems)
                )
            sources = [asdict(source) for source in self.report.sources.values()]
            writer.close(sources=sources, report=self.report.to_dict())

    def _add(self, writer: ShardWriter, tokenised: Tokenised) -> None:
        if tokenised.problem:
            self._problem(*tokenised.place, tokenised.problem)
            return
        for document in tokenised.documents:
            writer.add(tokenised.split, document.ids, document.mask, num_bytes=document.num_bytes)
            self.report.num_tokens += len(document.ids)
            self.report.sources[tokenised.place[0]].tokens += len(document.ids)
        self.report.num_validation += tokenised.split == "validation"

    def _examples(self, phase: str, *, is_first: bool) -> Iterator[tuple[Place, Example]]:
        """Every document of the wanted kind, the same in both passes; problems are told in the first."""
        report = self._problem if is_first else lambda *_: None
        advance = self._advance(phase)
        for file in self.files:
            for record in read_file(file, report, advance):
                example = self._recognise(record, report, is_first)
                if example is not None:
                    yield (record.file, record.row), example

    def _examples_again(self, scan: Fingerprints) -> Iterator[tuple[Place, Example]]:
        """The documents of the first pass. Raises DataError when a file is not what it was then."""
        count = 0
        for place, example in self._examples("tokenising", is_first=False):
            if count == len(scan) or scan.place(count) != place:
                raise DataError("{file} changed while it was read, at {row:,}.", _AGAIN, file=place[0], row=place[1])
            yield place, example
            count += 1
        if count < len(scan):
            raise DataError("{file} changed while it was read.", _AGAIN, file=scan.place(count)[0])

    def _recognise(self, record: Record, report: Report, is_first: bool) -> Example | None:
        self.report.sources.setdefault(record.file, SourceReport(record.file))
        try:
            example = recognise(record.value)
        except UnrecognisedError as exc:
            report(record.file, record.row, exc.sentence)
            return None
        if self.config.replay and self.report.kind == "preference" and isinstance(example, Chat):
            *messages, last = example.messages
            example = Preference(messages, last["content"], last["content"])
        if example.kind != self.report.kind:
            if self.report.kind != "pt" or not isinstance(example, Chat):
                self.report.num_other_kinds += is_first
                report(record.file, record.row, another_kind(example.kind, self.report.kind))
                return None
            example = Text(example.key())
        if len(example.key()) < self.config.min_chars:
            report(record.file, record.row, shorter_than(self.config.min_chars))
            return None
        return example

    def _problem(self, file: str, line: int, what: str) -> None:
        self.report.num_problems += 1
        self.report.sources.setdefault(file, SourceReport(file)).bad += 1
        if len(self.report.problems) < MAX_PROBLEMS:
            self.report.problems.append((file, line, what))

    def _advance(self, phase: str) -> Callable[[int], None]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self.progress:
                self.progress(phase, done, self._total_bytes)

        return advance

    @cached_property
    def _total_bytes(self) -> int:
        return sum(file.path.stat().st_size for file in self.files)


_AGAIN = "Prepare the data again."
_KINDS_READ = "Give txt, md, jsonl, json, csv or parquet files, also in .gz, .tar.gz or .zip, with known fields."


def _kinds(file: InputFile, problems: list[tuple[str, int, str]]) -> Iterator[str]:
    """The kinds of the examples at the beginning of a file; what is no example goes to `problems`."""
    records = read_file(file, lambda *problem: problems.append(problem), lambda _: None)
    for record in islice(records, KIND_RECORDS):
        try:
            yield recognise(record.value).kind
        except UnrecognisedError as exc:
            problems.append((record.file, record.row, exc.sentence))


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(islice(items, BATCH_DOCUMENTS)):
        yield batch


def another_kind(kind: str, wanted: str) -> Sentence:
    """Why a row is left out that is of another kind."""
    return Sentence("{kind} data among {wanted}", kind=kind, wanted=wanted)


def shorter_than(num_chars: int) -> Sentence:
    """Why a row is left out that is shorter."""
    return Sentence("shorter than {count} characters", count=num_chars)


def _counted(files: list[InputFile]) -> Sentence:
    return Sentence("1 file") if len(files) == 1 else Sentence("{count:,} files", count=len(files))


def _told(problems: list[tuple[str, int, str]]) -> tuple[Sentence, ...]:
    """The first of the problems."""
    told = [Sentence("{place}: {reason}", place=place_text(file, row), reason=what) for file, row, what in problems[:3]]
    more = [Sentence("{count:,} more", count=len(problems) - 3)] if len(problems) > 3 else []
    return (*told, *more)
