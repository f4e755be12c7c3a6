"""Token data sets on disk: memory-mapped shards, written whole or not at all.

    folder/dataset.json                  what is inside, with hashes; written last
    folder/tokenizer/                    the tokenizer the ids belong to
    folder/train-00000.tokens.bin        token ids, uint16 or uint32
    folder/train-00000.offsets.bin       first token of each document and the end, int64
    folder/train-00000.loss_mask.bin     sft and preference: 1 where loss is taken, uint8

Documents are read as views of the map: nothing is copied and a large shard costs no memory to open.
All files are little-endian. Maps are copy-on-write: what a reader changes never reaches the file.
"""

import glob
import hashlib
import json
import mmap
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from core.errors import DataError, Sentence
from core.files import sha256_file, sync, write_json

if TYPE_CHECKING:
    import torch

FORMAT = "astrai-tokens"
VERSION = 1
MANIFEST = "dataset.json"
TOKENIZER = "tokenizer"
KINDS = ("pt", "sft", "preference")
SHARD_TOKENS = 64 * 2**20

_AGAIN = "Prepare the data again."
_CHANGED = "The file changed on disk: prepare the data again."


@dataclass(frozen=True, slots=True)
class _Shard:
    name: str
    tokens: NDArray[Any]  # (tokens,) uint16 or uint32
    offsets: NDArray[np.int64]  # (documents + 1,)
    loss_mask: NDArray[np.uint8] | None  # (tokens,)


@dataclass(frozen=True, slots=True)
class _Split:
    shards: list[_Shard]
    first_documents: NDArray[np.int64]  # (shards + 1,) number of the first document of each shard
    num_tokens: int
    num_bytes: int


class MmapFileHandler:
    """Reads a token data set through memory maps."""

    def __init__(self, folder: Path, *, verify: bool = False) -> None:
        """Open the maps; `verify` also reads every byte and compares hashes. Raises DataError."""
        self.folder = folder
        self.manifest = _read_manifest(folder)
        self.kind: str = self.manifest["kind"]
        self.vocab_size: int = self.manifest["vocab_size"]
        self.fingerprint: str = self.manifest["tokenizer"]
        if verify:
            _verify(folder, self.manifest)
        self.splits = {name: self._open_split(entry) for name, entry in self.manifest["splits"].items()}

    def num_documents(self, split: str) -> int:
        return int(self.splits[split].first_documents[-1])

    def num_tokens(self, split: str) -> int:
        return self.splits[split].num_tokens

    def num_bytes(self, split: str) -> int:
        """UTF-8 bytes of the text behind the tokens."""
        return self.splits[split].num_bytes

    def lengths(self, split: str) -> NDArray[np.int32]:
        """Tokens of every document, (documents,)."""
        parts = (np.diff(shard.offsets).astype(np.int32) for shard in self.splits[split].shards)
        return np.concatenate([np.empty(0, dtype=np.int32), *parts])

    def tokens(self, split: str, document: int) -> NDArray[Any]:
        """Ids of one document, a view of the map."""
        shard, span = self._locate(split, document)
        return shard.tokens[span]

    def ids(self, split: str, document: int, begin: int = 0, end: int | None = None) -> NDArray[np.int64]:
        """Tokens begin … end - 1 of one document, copied. Raises DataError for one beyond the vocabulary."""
        ids = self.tokens(split, document)[begin:end].astype(np.int64)
        if len(ids) and ids.max() >= self.vocab_size:
            raise DataError(
                "{place} holds the token id {token}, the vocabulary has {size}.",
                _CHANGED,
                place=self.place(split, document),
                token=int(ids.max()),
                size=self.vocab_size,
            )
        return ids

    def loss_mask(self, split: str, document: int) -> NDArray[np.uint8] | None:
        """1 where loss is taken, a view of the map; None for text."""
        shard, span = self._locate(split, document)
        return None if shard.loss_mask is None else shard.loss_mask[span]

    def place(self, split: str, document: int) -> str:
        """For people: the file that a document is in, and its number there, from 1."""
        shard, local = self._shard_of(split, document)
        return f"{self.folder / shard.name}.tokens.bin, document {local + 1:,}"

    def tensor(self, split: str, shard: int) -> "torch.Tensor":
        """All ids of a shard as a tensor that shares the map's memory."""
        import torch

        tokens = self.splits[split].shards[shard].tokens
        return torch.frombuffer(tokens.data, dtype=getattr(torch, tokens.dtype.name))

    def release_memory(self) -> None:
        """Take what was read out of this process's memory. Views stay valid; what was written to them is lost."""
        for split in self.splits.values():
            for shard in split.shards:
                for part in (shard.tokens, shard.offsets, shard.loss_mask):
                    pages = part.base if isinstance(part, np.memmap) else None
                    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                        pages.madvise(mmap.MADV_DONTNEED)

    @staticmethod
    def writer(
        folder: Path, *, kind: str, vocab_size: int, fingerprint: str, shard_tokens: int = SHARD_TOKENS
    ) -> "ShardWriter":
        """A writer that makes `folder` appear, whole, when it is closed."""
        return ShardWriter(folder, kind=kind, vocab_size=vocab_size, fingerprint=fingerprint, shard_tokens=shard_tokens)

    def _locate(self, split: str, document: int) -> tuple[_Shard, slice]:
        shard, local = self._shard_of(split, document)
        return shard, slice(int(shard.offsets[local]), int(shard.offsets[local + 1]))

    def _shard_of(self, split: str, document: int) -> tuple[_Shard, int]:
        """The shard and the document's number in it, from 0."""
        part = self.splits[split]
        number = int(np.searchsorted(part.first_documents, document, side="right")) - 1
        return part.shards[number], document - int(part.first_documents[number])

    def _open_split(self, entry: dict[str, Any]) -> _Split:
        shards = [self._open_shard(shard) for shard in entry["shards"]]
        counts = [len(shard.offsets) - 1 for shard in shards]
        first_documents = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return _Split(shards, first_documents, entry["num_tokens"], entry["num_bytes"])

    def _open_shard(self, entry: dict[str, Any]) -> _Shard:
        count, documents, name = entry["num_tokens"], entry["num_documents"], entry["name"]
        tokens = _map(self.folder / f"{name}.tokens.bin", _token_dtype(self.vocab_size), count)
        offsets = _map(self.folder / f"{name}.offsets.bin", np.dtype("<i8"), documents + 1)
        has_mask = f"{name}.loss_mask.bin" in entry["files"]
        mask = _map(self.folder / f"{name}.loss_mask.bin", np.dtype("u1"), count) if has_mask else None
        if offsets[0] != 0 or offsets[-1] != count:
            raise DataError(
                "{name} ends at {found}, not at {count}.",
                _AGAIN,
                name=f"{name}.offsets.bin",
                found=int(offsets[-1]),
                count=count,
            )
        return _Shard(name, tokens, offsets, mask)


@dataclass(slots=True)
class _OpenShard:
    name: str
    files: dict[str, BinaryIO]
    offsets: list[int] = field(default_factory=lambda: [0])


@dataclass(slots=True)
class _SplitTotals:
    num_tokens: int = 0
    num_documents: int = 0
    num_bytes: int = 0
    num_loss_tokens: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)


class ShardWriter:
    """Collects documents under a temporary name and renames the folder at the end."""

    def __init__(self, folder: Path, *, kind: str, vocab_size: int, fingerprint: str, shard_tokens: int) -> None:
        assert kind in KINDS, kind
        self.folder, self.kind, self.vocab_size, self.fingerprint = folder, kind, vocab_size, fingerprint
        self._shard_tokens = shard_tokens
        self._dtype = _token_dtype(vocab_size)
        self.temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        _remove_leftovers(folder)
        self.temporary.mkdir(parents=True)
        self._open: dict[str, _OpenShard] = {}
        self._totals: dict[str, _SplitTotals] = {}

    def add(
        self,
        split: str,
        ids: list[int] | NDArray[Any],
        loss_mask: list[int] | NDArray[Any] | None = None,
        *,
        num_bytes: int = 0,
    ) -> None:
        """Append one document. `num_bytes` is the length of its text in UTF-8."""
        totals = self._totals.setdefault(split, _SplitTotals())
        shard = self._open.get(split) or self._start_shard(split, totals)
        shard.files["tokens"].write(np.asarray(ids, dtype=self._dtype).tobytes())
        if self.kind != "pt":
            mask = np.asarray(loss_mask, dtype=np.uint8)
            assert len(mask) == len(ids), (len(mask), len(ids))
            shard.files["loss_mask"].write(mask.tobytes())
            totals.num_loss_tokens += int(mask.sum())
        shard.offsets.append(shard.offsets[-1] + len(ids))
        totals.num_bytes += num_bytes
        if shard.offsets[-1] >= self._shard_tokens and len(shard.offsets) % 2:
            self._finish_shard(split)

    def close(self, *, sources: list[dict[str, Any]], report: dict[str, Any]) -> None:
        """Flush, hash, write the manifest and make the folder appear."""
        for split in list(self._open):
            self._finish_shard(split)
        splits = {
            name: {
                "num_tokens": totals.num_tokens,
                "num_documents": totals.num_documents,
                "num_bytes": totals.num_bytes,
                "num_loss_tokens": totals.num_loss_tokens if self.kind != "pt" else totals.num_tokens,
                "shards": totals.shards,
            }
            for name, totals in self._totals.items()
        }
        manifest = {"format": FORMAT, "version": VERSION, "kind": self.kind, "vocab_size": self.vocab_size}
        manifest |= {"tokenizer": self.fingerprint, "splits": splits, "sources": sources, "report": report}
        write_json(self.temporary / MANIFEST, manifest)
        _replace_folder(self.temporary, self.folder)

    def abort(self) -> None:
        """Drop what was written."""
        for shard in self._open.values():
            for file in shard.files.values():
                file.close()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()

    def _start_shard(self, split: str, totals: _SplitTotals) -> _OpenShard:
        name = f"{split}-{len(totals.shards):05d}"
        parts = ("tokens",) if self.kind == "pt" else ("tokens", "loss_mask")
        files: dict[str, BinaryIO] = {part: (self.temporary / f"{name}.{part}.bin").open("wb") for part in parts}
        self._open[split] = _OpenShard(name, files)
        return self._open[split]

    def _finish_shard(self, split: str) -> None:
        shard, totals = self._open.pop(split), self._totals[split]
        offsets_path = self.temporary / f"{shard.name}.offsets.bin"
        offsets_path.write_bytes(np.asarray(shard.offsets, dtype="<i8").tobytes())
        paths = [offsets_path]
        for part, file in shard.files.items():
            file.close()
            paths.append(self.temporary / f"{shard.name}.{part}.bin")
        files = {}
        for path in paths:
            sync(path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        documents = len(shard.offsets) - 1
        entry = {"name": shard.name, "num_tokens": shard.offsets[-1], "num_documents": documents, "files": files}
        totals.shards.append(entry)
        totals.num_tokens += shard.offsets[-1]
        totals.num_documents += documents


def _remove_leftovers(folder: Path) -> None:
    """What writers of the same folder left that were killed: their process is not there any more, or is this one."""
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        number = leftover.name.removesuffix(".tmp").rpartition(".")[2]
        if number.isdecimal() and (int(number) == os.getpid() or not psutil.pid_exists(int(number))):
            shutil.rmtree(leftover, ignore_errors=True)


def _replace_folder(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final`; an older `final` is there until the new one is."""
    old = final.with_name(f".{final.name}.{os.getpid()}.old")
    if final.exists():
        os.replace(final, old)
    os.replace(temporary, final)
    sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _token_dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype("<u2") if vocab_size <= 65536 else np.dtype("<u4")


def _map(path: Path, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    expected = count * dtype.itemsize
    size = path.stat().st_size if path.exists() else None
    if size != expected:
        raise DataError(
            "{path} is missing." if size is None else "{path} has {size:,} bytes, {expected:,} were written.",
            _AGAIN,
            path=path,
            size=size or 0,
            expected=expected,
        )
    return np.memmap(path, dtype=dtype, mode="c", shape=(count,)) if count else np.empty(0, dtype=dtype)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise DataError(
            "{folder} has no {file}.", "Make the data set with `prepare`.", folder=folder, file=MANIFEST
        ) from exc
    except (OSError, ValueError) as exc:
        raise DataError("{path} is not readable JSON: {reason}.", _AGAIN, path=path, reason=exc) from exc
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise DataError(
            "{path} is not an {format} version {version} manifest.", _AGAIN, path=path, format=FORMAT, version=VERSION
        )
    problem = _manifest_problem(manifest)
    if problem:
        raise DataError("{path}: {problem}.", _AGAIN, path=path, problem=problem)
    return manifest


def _manifest_problem(manifest: dict[str, Any]) -> Sentence | None:
    """What is wrong with a manifest's fields, before anything is opened by it."""
    if manifest.get("kind") not in KINDS:
        return Sentence("kind is {value}", value=repr(manifest.get("kind")))
    if not isinstance(manifest.get("vocab_size"), int) or manifest["vocab_size"] < 1:
        return Sentence("vocab_size is {value}", value=repr(manifest.get("vocab_size")))
    try:
        for split in manifest["splits"].values():
            counts = [split["num_tokens"], split["num_bytes"]]
            for shard in split["shards"]:
                counts += [shard["num_tokens"], shard["num_documents"]]
                if Path(shard["name"]).name != shard["name"]:
                    return Sentence("the shard name {name!r} leads out of the folder", name=shard["name"])
                if not isinstance(shard["files"], dict):
                    return Sentence("a shard has no list of files")
            if not all(isinstance(count, int) and count >= 0 for count in counts):
                return Sentence("a count is not a whole number")
    except (KeyError, TypeError, AttributeError) as exc:
        return Sentence("a field is missing or of the wrong type ({reason})", reason=str(exc))
    return None


def _verify(folder: Path, manifest: dict[str, Any]) -> None:
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            for name, entry in shard["files"].items():
                path = folder / name
                digest = sha256_file(path) if path.exists() else hashlib.sha256().hexdigest()
                if digest != entry["sha256"]:
                    raise DataError(
                        "{name} has the hash {found}…, {written}… was written.",
                        _CHANGED,
                        name=name,
                        found=digest[:12],
                        written=entry["sha256"][:12],
                    )
