"""Files to a token data set: read twice, so that memory stays flat however large the input is.

The first pass hashes every document; equal and similar ones are dropped and whole groups of similar
ones are chosen for validation, so that it cannot leak. The second pass tokenises what is kept, in
several processes, and writes shards in the order of the input. Per document 520 bytes stay in memory.
"""

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.config.prepare_config import PrepareConfig
from core.data.chat_template import ChatTemplate
from core.data.dedup import Duplicates, choose_validation, content_hash, find_duplicates, signature
from core.data.formats import Chat, Example, Preference, Text, Unrecognised, recognise
from core.data.mmap_file import MmapFileHandler, ShardWriter
from core.data.readers import Record, is_readable_name, read_file
from core.data.streams import input_files
from core.data.tokenizer import Tokenizer
from core.errors import AssistantError, DataError

BATCH_DOCUMENTS = 64
BATCHES_AHEAD_PER_WORKER = 4
MAX_PROBLEMS = 1000

Progress = Callable[[str, int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


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


@dataclass(frozen=True, slots=True)
class Scan:
    """The first pass, one entry per recognised document of the wanted kind."""

    hashes: NDArray[np.uint64]
    signatures: NDArray[np.uint32]
    sizes: NDArray[np.int64]  # UTF-8 bytes
    places: list[tuple[str, int]]  # file and line, for the report


def prepare(
    paths: list[Path], output: Path, tokenizer: Tokenizer, config: PrepareConfig, *, progress: Progress | None = None
) -> PrepareReport:
    """Write the token data set `output` from files and folders.

    `progress(phase, done, total)` counts the bytes read. Raises DataError when a path does not exist,
    `output` is there already, or nothing usable is found.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise DataError(f"There is no {', '.join(missing)}.", "Check the path.")
    if output.exists():
        raise DataError(f"{output} exists already.", "Choose another folder, or delete it.")
    return _Preparation(paths, output, tokenizer, config, progress).run()


class _Preparation:
    """One call of `prepare`."""

    def __init__(
        self, paths: list[Path], output: Path, tokenizer: Tokenizer, config: PrepareConfig, progress: Progress | None
    ) -> None:
        found = input_files(paths, outside=output)
        self.files = [file for file in found if is_readable_name(file.name)]
        self.output, self.tokenizer, self.config, self.progress = output, tokenizer, config, progress
        self.workers = config.workers or os.cpu_count() or 1
        self.report = PrepareReport()
        for file in found:
            if not is_readable_name(file.name):
                self._problem(file.name, 0, "not a kind of file that is read")

    def run(self) -> PrepareReport:
        self.report.kind = self._kind()
        with _Workers(self.workers, self.tokenizer) as workers:
            scan = self._scan(workers)
            duplicates = find_duplicates(scan.hashes, scan.signatures, threshold=self.config.near_duplicate_threshold)
            if not self.config.drop_duplicates:
                duplicates = replace(duplicates, kept=np.ones_like(duplicates.kept), num_exact=0, num_near=0)
            validation = self._choose_validation(scan, duplicates)
            self._count_duplicates(scan, duplicates)
            self._write(workers, duplicates.kept, validation)
        return self.report

    def _kind(self) -> str:
        """The kind asked for, or that of most of the first records of each file."""
        if self.config.kind != "auto":
            return self.config.kind
        counts: Counter[str] = Counter()
        for file in self.files:
            records = read_file(file, lambda *_: None, lambda _: None)
            for record in islice(records, 20):
                try:
                    counts[recognise(record.value).kind] += 1
                except Unrecognised:
                    continue
        if not counts:
            problems = "; ".join(f"{file}: {what}" for file, _, what in self.report.problems[:3])
            raise DataError(f"Nothing usable was found in {len(self.files)} files. {problems}", _KINDS_READ)
        return counts.most_common(1)[0][0]

    def _scan(self, workers: "_Workers") -> Scan:
        hashes, signatures, sizes, places = [], [], [], []
        examples = self._examples("reading", is_first=True)
        for batch in workers.map(_fingerprints, _batches(examples)):
            for place, digest, values, size in batch:
                hashes.append(digest)
                signatures.append(values)
                sizes.append(size)
                places.append(place)
                source = self.report.sources[place[0]]
                source.documents += 1
                source.bytes += size
        if not hashes:
            first = "; ".join(f"{file}, line {line}: {what}" for file, line, what in self.report.problems[:3])
            raise DataError(f"No {self.report.kind} document was found. {first}", _KINDS_READ)
        return Scan(np.array(hashes, dtype=np.uint64), np.stack(signatures), np.array(sizes, dtype=np.int64), places)

    def _choose_validation(self, scan: Scan, duplicates: Duplicates) -> NDArray[np.bool_]:
        target = int(scan.sizes[duplicates.kept].sum() * self.config.validation_ratio)
        max_bytes = min(target, self.config.validation_max_bytes)
        return choose_validation(duplicates, scan.hashes, scan.sizes, max_bytes=max_bytes, seed=self.config.seed)

    def _count_duplicates(self, scan: Scan, duplicates: Duplicates) -> None:
        self.report.num_exact_duplicates = duplicates.num_exact
        self.report.num_near_duplicates = duplicates.num_near
        for place, kept in zip(scan.places, duplicates.kept, strict=True):
            source = self.report.sources[place[0]]
            source.kept += int(kept)
            source.duplicates += int(not kept)
        self.report.duplicate_examples = [
            (_place(scan.places[dropped]), _place(scan.places[kept]))
            for dropped, kept in duplicates.near_pairs
            if not duplicates.kept[dropped]
        ]

    def _write(self, workers: "_Workers", kept: NDArray[np.bool_], validation: NDArray[np.bool_]) -> None:
        writer = MmapFileHandler.writer(
            self.output,
            kind=self.report.kind,
            vocab_size=self.tokenizer.vocab_size,
            fingerprint=self.tokenizer.fingerprint,
        )
        with writer:
            self.tokenizer.save(writer.temporary / "tokenizer")
            wanted = (
                (bool(validation[i]), place, example)
                for i, (place, example) in enumerate(self._examples("tokenising", is_first=False))
                if kept[i]
            )
            for batch in workers.map(_tokenise, _batches(wanted)):
                for is_validation, place, documents in batch:
                    self._add(writer, "validation" if is_validation else "train", place, documents)
            if not self.report.num_tokens:
                raise DataError("No document gave any token.", _KINDS_READ)
            sources = [asdict(source) for source in self.report.sources.values()]
            writer.close(sources=sources, report=self.report.to_dict())

    def _add(self, writer: ShardWriter, split: str, place: tuple[str, int], documents: "list[_Tokens] | str") -> None:
        if isinstance(documents, str):
            self._problem(*place, documents)
            return
        for document in documents:
            writer.add(split, document.ids, document.mask, num_bytes=document.num_bytes)
            self.report.num_tokens += len(document.ids)
            self.report.sources[place[0]].tokens += len(document.ids)
        self.report.num_validation += split == "validation"

    def _examples(self, phase: str, *, is_first: bool) -> Iterator[tuple[tuple[str, int], Example]]:
        """Every document of the wanted kind, the same in both passes; problems are told in the first."""
        report = self._problem if is_first else lambda *_: None
        advance = self._advance(phase)
        for file in self.files:
            for record in read_file(file, report, advance):
                example = self._recognise(record, report, is_first)
                if example is not None:
                    yield (record.file, record.row), example

    def _recognise(self, record: Record, report: Callable[[str, int, str], None], is_first: bool) -> Example | None:
        self.report.sources.setdefault(record.file, SourceReport(record.file))
        try:
            example = recognise(record.value)
        except Unrecognised as exc:
            report(record.file, record.row, str(exc))
            return None
        if example.kind != self.report.kind:
            if self.report.kind != "pt" or not isinstance(example, Chat):
                self.report.num_other_kinds += is_first
                report(record.file, record.row, f"{example.kind} data among {self.report.kind}")
                return None
            example = Text(example.key())
        if len(example.key()) < self.config.min_chars:
            report(record.file, record.row, f"shorter than {self.config.min_chars} characters")
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


_KINDS_READ = "Give txt, md, jsonl, json, csv or parquet files, also in .gz, .tar.gz or .zip, with known fields."


@dataclass(frozen=True, slots=True)
class _Tokens:
    ids: NDArray[Any]
    mask: NDArray[np.uint8] | None
    num_bytes: int


class _Workers:
    """Maps batches over processes, in order, with a bounded number of batches under way."""

    def __init__(self, count: int, tokenizer: Tokenizer) -> None:
        self._count, self._tokenizer = count, tokenizer
        self._pool: Pool | None = None

    def __enter__(self) -> "_Workers":
        if self._count > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = context.Pool(self._count, _start_worker, (self._tokenizer,))
        else:
            _start_worker(self._tokenizer)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()

    def map(self, work: Callable[[list[Item]], Result], batches: Iterator[list[Item]]) -> Iterator[Result]:
        if self._pool is None:
            yield from map(work, batches)
            return
        # The pool would read its input to the end at once: a semaphore keeps it near the results.
        slots = threading.Semaphore(self._count * BATCHES_AHEAD_PER_WORKER)
        failure: list[BaseException] = []

        def bounded() -> Iterator[list[Item]]:
            try:
                for batch in batches:
                    slots.acquire()
                    yield batch
            except BaseException as exc:  # raised in the pool's own thread, told below
                failure.append(exc)

        for result in self._pool.imap(work, bounded()):
            slots.release()
            yield result
        if failure:
            raise failure[0]


_worker_template: ChatTemplate


def _start_worker(tokenizer: Tokenizer) -> None:
    global _worker_template
    _worker_template = ChatTemplate(tokenizer)


def _fingerprints(
    batch: list[tuple[tuple[str, int], Example]],
) -> list[tuple[tuple[str, int], int, NDArray[np.uint32], int]]:
    """(place, hash, signature, bytes) of each document."""
    return [
        (place, content_hash(key), signature(key), len(key.encode("utf-8", "replace")))
        for place, example in batch
        for key in [example.key()]
    ]


def _tokenise(
    batch: list[tuple[bool, tuple[str, int], Example]],
) -> list[tuple[bool, tuple[str, int], list[_Tokens] | str]]:
    """Each example's documents, or why it has none."""
    results: list[tuple[bool, tuple[str, int], list[_Tokens] | str]] = []
    for is_validation, place, example in batch:
        try:
            results.append((is_validation, place, _documents(example)))
        except AssistantError as exc:
            results.append((is_validation, place, exc.message))
    return results


def _documents(example: Example) -> list[_Tokens]:
    """One document for a text or a conversation; chosen then rejected for a pair."""
    tokenizer = _worker_template.tokenizer
    dtype = np.uint16 if tokenizer.vocab_size <= 65536 else np.uint32
    num_bytes = len(example.key().encode("utf-8", "replace"))
    if isinstance(example, Text):
        return [_Tokens(np.array([*tokenizer.encode(example.text), tokenizer.eos_id], dtype=dtype), None, num_bytes)]
    if isinstance(example, Chat):
        ids, mask = _worker_template.encode_with_mask(example.messages)
        return [_Tokens(np.array(ids, dtype=dtype), np.array(mask, dtype=np.uint8), num_bytes)]
    return [_answered(example, answer, dtype) for answer in (example.chosen, example.rejected)]


def _answered(example: Preference, answer: str, dtype: type[np.uint16] | type[np.uint32]) -> _Tokens:
    """The conversation with one answer; only that answer carries the mask."""
    prompt = len(_worker_template.encode(example.messages, add_generation_prompt=True))
    ids, mask = _worker_template.encode_with_mask([*example.messages, {"role": "assistant", "content": answer}])
    mask[:prompt] = [0] * prompt
    return _Tokens(np.array(ids, dtype=dtype), np.array(mask, dtype=np.uint8), len(answer.encode("utf-8", "replace")))


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(islice(items, BATCH_DOCUMENTS)):
        yield batch


def _place(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"
