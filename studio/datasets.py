"""What is in files that somebody wants to train on: recognised kinds, lengths, a preview, duplicates and bad rows.

Files are read as `prepare` reads them, from their beginning and in bounds of time, bytes and rows, however large or
hostile they are; what was not read to its end is said to be sampled, and its rows are estimated.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.config.prepare_config import PrepareConfig
from core.data.chat_template import ChatTemplate
from core.data.dedup import content_hash, find_duplicates, signature
from core.data.formats import KINDS_OF_STAGE, Chat, Example, Preference, Text, UnrecognisedError, recognise
from core.data.prepare import KIND_EXAMPLES, main_kind, shorter_than
from core.data.readers import NOT_READ, is_readable_name, read_file
from core.data.records import Record, place_text
from core.data.streams import InputFile, input_files
from core.data.tokenise import Place, documents
from core.data.tokenizer import Tokenizer
from core.errors import AssistantError

MAX_SECONDS = 10.0
# Of each file, that a folder of many is seen in its breadth.
MAX_FILE_SECONDS, MAX_FILE_BYTES, MAX_FILE_ROWS = 3.0, 64 << 20, 20_000
MAX_LISTED_FILES, MAX_BAD_ROWS, MAX_EXAMPLES = 500, 200, 10
MAX_PREVIEWS, PREVIEWS_OF_FILE, PREVIEW_CHARS = 20, 3, 2000
# Tokenising and signing a row take longer than reading it: the first rows of each file must do, so many in all.
MAX_TOKENISED_CHARS, MAX_SIGNED_ROWS = 1 << 20, 4000
# So much of a long row: its tokens are counted in proportion.
MAX_ROW_CHARS = 1 << 15
SHORTEST_BIN = 16
PREPARE = PrepareConfig()  # whose defaults say what is left out


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was recognised in one file; `kinds` counts the rows that were read as pt, sft and preference."""

    file: str
    num_bytes: int
    kinds: dict[str, int]
    num_bad: int
    num_rows: int  # of the whole file: estimated where it was not read to its end
    is_sampled: bool


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is left out; row 0 is the whole file."""

    file: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of an example: (role, text) of each of its parts."""

    file: str
    row: int
    kind: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of examples, of a pair its longer answer with the prompt: bin i counts edges[i] to edges[i + 1] - 1."""

    unit: str  # tokens or characters
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    longest: int
    median: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was found in all files that were looked at."""

    files: tuple[FileReport, ...]  # the first MAX_LISTED_FILES
    num_files: int
    kind: str | None  # what `prepare` takes by itself: pt, sft or preference; None where nothing is usable
    kinds: dict[str, int]  # rows that were read, by kind
    stages: tuple[str, ...]  # stages of training that the files suit
    num_rows: int  # of all files, estimated where sampled
    num_bytes: int
    lengths: Lengths
    preview: tuple[Preview, ...]
    num_exact_duplicates: int  # among the rows that were read
    num_near_duplicates: int  # among the first rows of each file, MAX_SIGNED_ROWS in all
    duplicate_examples: tuple[tuple[str, str], ...]  # places: dropped, kept
    bad_rows: tuple[BadRow, ...]  # the first MAX_BAD_ROWS
    num_bad: int
    is_sampled: bool  # not everything was read


def look_at(
    paths: Sequence[Path],
    *,
    tokenizer: Tokenizer | None = None,
    max_seconds: float = MAX_SECONDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> DataReport:
    """Read files and folders and say what is in them; with a tokenizer lengths are in tokens, else in characters.

    Raises DataError for a path that is not there or cannot be listed.
    """
    return _Look(tokenizer, time.monotonic() + max_seconds, should_stop).at(input_files(list(paths)))


class _Enough(Exception):  # noqa: N818 - it is none
    """A limit is reached: no error of any library that reads, so that nothing catches it on its way."""


@dataclass(slots=True)
class _FileLook:
    """What is known of the file that is being read."""

    deadline: float
    share: float  # of what may be tokenised and signed
    num_bytes: int = 0
    num_signed: int = 0
    num_tokenised_chars: int = 0
    num_bad: int = 0
    first_kinds: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def num_rows(self) -> int:
        return self.num_bad + self.kinds.total()


class _Look:
    """One call of `look_at`."""

    def __init__(self, tokenizer: Tokenizer | None, deadline: float, should_stop: Callable[[], bool]) -> None:
        self._template = ChatTemplate(tokenizer) if tokenizer else None
        self._deadline, self._should_stop = deadline, should_stop
        self._file = _FileLook(deadline, 1.0)
        self._share = 1.0
        self._lengths: list[int] = []
        self._places: list[Place] = []
        self._firsts: dict[int, int] = {}  # number of the first row by its hash
        self._num_equal = 0
        self._examples: list[tuple[Place, Place]] = []
        self._signed: list[int] = []
        self._signatures: list[np.ndarray[tuple[int], np.dtype[np.uint32]]] = []
        self._preview: list[Preview] = []
        self._bad: list[BadRow] = []
        self._num_bad = 0

    def at(self, files: list[InputFile]) -> DataReport:
        reports, first_kinds, kinds, is_sampled = [], [], Counter[str](), False
        self._share = 1 / max(len(files), 1)
        for number, file in enumerate(files):
            report = self._read(file, len(files) - number)
            is_sampled |= report.is_sampled
            reports.append(report)
            first_kinds.append(self._file.first_kinds)
            kinds += self._file.kinds
        num_exact, num_near, examples = self._duplicates()
        return DataReport(
            files=tuple(reports[:MAX_LISTED_FILES]),
            num_files=len(files),
            kind=main_kind(first_kinds),
            kinds=dict(kinds),
            stages=stages_of(kinds),
            num_rows=sum(report.num_rows for report in reports),
            num_bytes=sum(report.num_bytes for report in reports),
            lengths=_histogram(self._lengths, "characters" if self._template is None else "tokens"),
            preview=tuple(self._preview),
            num_exact_duplicates=num_exact,
            num_near_duplicates=num_near,
            duplicate_examples=examples,
            bad_rows=tuple(self._bad),
            num_bad=self._num_bad,
            is_sampled=is_sampled,
        )

    def _read(self, file: InputFile, num_left: int) -> FileReport:
        """Read one file up to its limits; `num_left` files share the time that is left."""
        now, size = time.monotonic(), file.path.stat().st_size
        seconds = min(max((self._deadline - now) / num_left, 0.0), MAX_FILE_SECONDS)
        look = self._file = _FileLook(now + seconds, self._share)
        is_sampled = False
        try:
            self._check()
            if is_readable_name(file.name):
                with closing(read_file(file, self._report, self._advance)) as records:
                    for record in records:
                        self._take(record)
            else:
                self._report(file.name, 0, NOT_READ)
        except _Enough:
            is_sampled = True
        share = min(look.num_bytes / size, 1.0) if size and is_sampled else 1.0
        num_rows = round(look.num_rows / share) if share else 0
        return FileReport(file.name, size, dict(look.kinds), look.num_bad, num_rows, is_sampled)

    def _check(self) -> None:
        """Raise _Enough at a limit."""
        look = self._file
        is_over = time.monotonic() >= look.deadline or look.num_bytes > MAX_FILE_BYTES
        if is_over or look.num_rows >= MAX_FILE_ROWS or self._should_stop():
            raise _Enough

    def _advance(self, num_bytes: int) -> None:
        self._file.num_bytes += num_bytes
        self._check()

    def _report(self, file: str, row: int, reason: str) -> None:
        self._num_bad += 1
        self._file.num_bad += 1
        if len(self._bad) < MAX_BAD_ROWS:
            self._bad.append(BadRow(file, row, reason))
        self._check()

    def _take(self, record: Record) -> None:
        try:
            example = recognise(record.value)
        except UnrecognisedError as exc:
            self._report(record.file, record.row, exc.sentence)
            return
        key, look = example.key(), self._file
        if len(key) < PREPARE.min_chars:
            self._report(record.file, record.row, shorter_than(PREPARE.min_chars))
            return
        look.kinds[example.kind] += 1
        if len(look.first_kinds) < KIND_EXAMPLES:
            look.first_kinds.append(example.kind)
        self._measure(record, example, key)
        if look.kinds.total() <= PREVIEWS_OF_FILE and len(self._preview) < MAX_PREVIEWS:
            self._preview.append(Preview(record.file, record.row, example.kind, tuple(_parts(example))))
        self._compare((record.file, record.row), key)
        self._check()

    def _compare(self, place: Place, key: str) -> None:
        """Remember a row, or that it is equal to one before."""
        number, look = len(self._places), self._file
        first = self._firsts.setdefault(content_hash(key), number)
        if first != number:
            self._num_equal += 1
            if len(self._examples) < MAX_EXAMPLES:
                self._examples.append((place, self._places[first]))
            return
        self._places.append(place)
        if look.num_signed < MAX_SIGNED_ROWS * look.share:
            look.num_signed += 1
            self._signed.append(number)
            self._signatures.append(signature(key[:MAX_ROW_CHARS]))

    def _measure(self, record: Record, example: Example, key: str) -> None:
        look, count = self._file, len(key)
        if self._template is None:
            self._lengths.append(count)
            return
        if look.num_tokenised_chars >= MAX_TOKENISED_CHARS * look.share:
            return
        look.num_tokenised_chars += min(count, MAX_ROW_CHARS)
        if count > MAX_ROW_CHARS:
            beginning = self._template.tokenizer.encode(key[:MAX_ROW_CHARS])
            self._lengths.append(round(len(beginning) * count / MAX_ROW_CHARS))
            return
        try:
            self._lengths.append(max(len(document.ids) for document in documents(self._template, example)))
        except AssistantError as exc:
            self._report(record.file, record.row, exc.whole)

    def _duplicates(self) -> tuple[int, int, tuple[tuple[str, str], ...]]:
        """Equal rows, similar rows, and places of some (dropped, kept)."""
        examples, num_near = self._examples, 0
        if self._signed:
            hashes = np.fromiter(self._firsts, dtype=np.uint64)[self._signed]
            threshold = PREPARE.near_duplicate_threshold
            found = find_duplicates(hashes, np.stack(self._signatures), threshold=threshold)
            num_near, numbers = found.num_near, self._signed
            examples = examples + [
                (self._places[numbers[left]], self._places[numbers[right]]) for left, right in found.near_pairs
            ]
        told = tuple((place_text(*dropped), place_text(*kept)) for dropped, kept in examples)
        return self._num_equal, num_near, told


def stages_of(kinds: Counter[str]) -> tuple[str, ...]:
    """The stages that rows of these kinds can be prepared for; conversations are text, too."""
    usable = {kind for kind, count in kinds.items() if count}
    if "sft" in usable:
        usable.add("pt")
    return tuple(stage for stage, read in KINDS_OF_STAGE.items() if usable.intersection(read))


def _parts(example: Example) -> Iterator[tuple[str, str]]:
    match example:
        case Text(text):
            yield "text", text[:PREVIEW_CHARS]
        case Chat(messages):
            yield from ((message["role"], message["content"][:PREVIEW_CHARS]) for message in messages[:PREVIEW_CHARS])
        case Preference(messages, chosen, rejected):
            yield from _parts(Chat(messages))
            yield "chosen", chosen[:PREVIEW_CHARS]
            yield "rejected", rejected[:PREVIEW_CHARS]


def _histogram(lengths: list[int], unit: str) -> Lengths:
    """Bins that double: up to SHORTEST_BIN - 1, then to twice that, and so on."""
    if not lengths:
        return Lengths(unit, (), (), 0, 0)
    longest, edges = max(lengths), [0, SHORTEST_BIN]
    while edges[-1] <= longest:
        edges.append(2 * edges[-1])
    counts = np.histogram(lengths, bins=edges)[0].tolist()
    return Lengths(unit, tuple(edges), tuple(counts), longest, int(np.median(lengths)))
