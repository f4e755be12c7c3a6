"""What a repository on the hub holds, and which of its files make a model.

The list comes from a stranger: only names of the known kinds are looked at, in the top folder or as known files of an
embedder's module, so a path upwards, an absolute path or a control character is no file that anybody would write.
Sizes and hashes must be there, since each byte is checked against them.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from core.config.model_config import ModelConfig
from core.errors import DownloadError, ModelError
from core.hub.places import HubName

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# AstrAI's own checkpoints: their config has one of these model_types, and their weights may have this name.
ASTRAI_TYPES, ASTRAI_WEIGHTS = (None, "autoregressive_lm"), "state_dict.safetensors"
SIDE_FILES = (
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
TOKENIZERS = ("tokenizer.json", "tokenizer.model")
# What an embedder has beside these: the list of its modules and their settings, each module in a folder of its own.
EMBEDDER_FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "vocab.txt")
EMBEDDER_WEIGHTS = ("embedding.safetensors", WEIGHTS)
MAX_SIDE_FILE_BYTES = 64 * 2**20
MAX_SHARDS = 1000
MAX_SHOWN = 8
_KNOWN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.(?:safetensors|gguf|json|jinja|model|txt)")
_MODULE_FILE = re.compile(
    r"\d{1,2}_[A-Za-z0-9]{1,40}/(?:config\.json|sentence_bert_config\.json|tokenizer\.json|model\.safetensors)"
)
_PICKLE = re.compile(r"[\w.-]{1,100}\.(?:bin|pt|pth|ckpt|pkl|h5|msgpack)", re.ASCII)
_GGUF_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of the repository. `sha256` is of its bytes, `git_id` git's name for them: the hub gives one at least."""

    name: str
    size: int
    git_id: str
    sha256: str | None = None


class Check:
    """The running hash of a file that comes in parts, compared at its end with what the hub says of it."""

    def __init__(self, file: RepoFile) -> None:
        self._file = file
        self.reset()

    def reset(self) -> None:
        """Forget what came."""
        self.size = 0
        self._sha256 = hashlib.sha256()
        # Git's name of a blob. SHA-1 finds damage; whoever could forge it could change the list that holds it.
        self._git = hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False)

    def update(self, content: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(content)
        self._sha256.update(content)
        if self._file.sha256 is None:
            self._git.update(content)

    @property
    def sha256(self) -> str:
        """The hash of what came."""
        return self._sha256.hexdigest()

    @property
    def is_right(self) -> bool:
        """Whether this is the whole file and none other."""
        if self.size != self._file.size:
            return False
        if self._file.sha256 is not None:
            return self.sha256 == self._file.sha256
        return self._git.hexdigest() == self._file.git_id

    def read(self, path: Path) -> None:
        """Take in what a file holds already."""
        with path.open("rb") as file:
            while content := file.read(1 << 20):
                self.update(content)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of the known kinds at one commit, and the names of pickles, which are never fetched."""

    name: HubName
    commit: str
    files: dict[str, RepoFile]
    pickles: tuple[str, ...]

    @classmethod
    def from_answer(cls, name: HubName, value: Any) -> Self:
        """Read the hub's answer. Raises DownloadError when it is none, or holds no sizes and hashes."""
        commit, siblings = (value.get(key) for key in ("sha", "siblings")) if isinstance(value, dict) else (None, None)
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(siblings, list):
            raise _bad_answer(f"no commit and files of {name.repo_id}")
        entries = [entry for entry in siblings if isinstance(entry, dict) and isinstance(entry.get("rfilename"), str)]
        known = [entry for entry in entries if _is_known(entry["rfilename"])]
        if len({entry["rfilename"].casefold() for entry in known}) < len(known):
            raise _bad_answer("two files of one name")
        pickles = tuple(entry["rfilename"] for entry in entries if _PICKLE.fullmatch(entry["rfilename"]))
        return cls(name, commit, {entry["rfilename"]: _file(entry) for entry in known}, pickles)

    def file(self, name: str) -> RepoFile:
        """Raises DownloadError if there is no such file."""
        if name not in self.files:
            raise DownloadError(
                "{name} has no {missing}.", "Choose another model or revision.", name=self.name.repo_id, missing=name
            )
        return self.files[name]

    def gguf(self, name: str) -> list[RepoFile]:
        """A GGUF file, with all parts of a split one: it brings its shape and tokenizer. Raises DownloadError."""
        found = _GGUF_PART.fullmatch(name)
        count = int(found[2]) if found else 1
        names = [f"{found[1]}-{part:05d}-of-{found[2]}.gguf" for part in range(1, count + 1)] if found else [name]
        missing = [part for part in names if part not in self.files]
        if missing:
            raise DownloadError(
                "{name} has no file {missing}.",
                "It has {files}.",
                name=self.name.repo_id,
                missing=missing[0],
                files=self._ggufs(),
            )
        return [self.files[part] for part in names]

    def check_has_model(self) -> None:
        """Raises ModelError without weights in safetensors, saying what there is instead, or without a tokenizer."""
        repo = self.name.repo_id
        if CONFIG in self.files and any(name in self.files for name in (INDEX, WEIGHTS, ASTRAI_WEIGHTS)):
            if not any(name in self.files for name in TOKENIZERS):
                raise ModelError(
                    "{name} has no {first} or {second}.",
                    "Choose a model that brings its tokenizer.",
                    name=repo,
                    first=TOKENIZERS[0],
                    second=TOKENIZERS[1],
                )
            return
        if any(name.endswith(".gguf") for name in self.files):
            raise ModelError(
                "{name} holds GGUF files.", "Name one, as {name}:FILE.gguf: {files}.", name=repo, files=self._ggufs()
            )
        if self.pickles:
            raise ModelError(
                "{name} has its weights only as a pickle ({file}), which can run code.",
                "Choose a version of the model in safetensors.",
                name=repo,
                file=self.pickles[0],
            )
        missing = WEIGHTS if CONFIG in self.files else CONFIG
        raise ModelError(
            "{name} has no {missing}.",
            "Choose a model in Hugging Face form with safetensors.",
            name=repo,
            missing=missing,
        )

    def model_files(self, index: bytes | None) -> list[RepoFile]:
        """The files that make the model, small ones first and config.json at the end.

        `index` is the content of INDEX. Raises DownloadError when it names what is not there.
        """
        whole = WEIGHTS if WEIGHTS in self.files else ASTRAI_WEIGHTS
        weights = [whole] if index is None else _shards(index)
        sides = [self.files[name] for name in SIDE_FILES if name in self.files]
        large = [file for file in (*sides, self.file(CONFIG)) if file.size > MAX_SIDE_FILE_BYTES]
        if large:
            raise _bad_answer(f"{large[0].name} of {large[0].size:,} bytes")
        indexes = [self.file(INDEX)] if index is not None else []
        return [*sides, *indexes, *map(self.file, weights), self.file(CONFIG)]

    def embedder_files(self, index: bytes | None) -> list[RepoFile]:
        """The files of a sentence-transformers model or of a static embedder of ours, small ones first.

        Raises: ModelError without a list of modules or a config, or without safetensors.
        """
        modules = [file for name, file in self.files.items() if "/" in name]
        whole = [self.files[name] for name in EMBEDDER_WEIGHTS if name in self.files][:1]
        weights = [self.file(name) for name in _shards(index)] if index is not None else whole
        names = (*SIDE_FILES, *EMBEDDER_FILES, CONFIG)
        sides = [self.files[name] for name in names if name in self.files]
        is_described = CONFIG in self.files or EMBEDDER_FILES[0] in self.files
        is_weighty = bool(weights) or any(file.name.endswith(".safetensors") for file in modules)
        if not (is_described and is_weighty):
            missing = "safetensors" if is_described else f"{EMBEDDER_FILES[0]} or {CONFIG}"
            raise ModelError(
                "{name} has no {missing}.",
                "Choose a sentence-transformers model whose weights are safetensors.",
                name=self.name.repo_id,
                missing=missing,
            )
        indexes = [self.file(INDEX)] if index is not None else []
        return [*sides, *indexes, *modules, *weights]

    def _ggufs(self) -> str:
        names = sorted(name for name in self.files if name.endswith(".gguf"))
        more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
        return ", ".join(names[:MAX_SHOWN]) + more if names else "no GGUF file"


def check_config(content: bytes) -> None:
    """Raises ModelError when `config.json` describes a model that does not run here: before gigabytes are fetched."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ModelError("config.json is not readable JSON.", "Choose another model or revision.") from exc
    if not isinstance(values, dict):
        raise ModelError("config.json holds no object.", "Choose another model or revision.")
    if values.get("model_type") not in ASTRAI_TYPES:
        ModelConfig.from_hf(values)
    settings = values.get("quantization_config")
    method = settings.get("quant_method") if isinstance(settings, dict) else settings
    if method not in (None, "astrai"):
        raise ModelError(
            "The model is quantised as {method!a}, which is not supported.",
            "Choose the unquantised model; it is quantised here on loading.",
            method=str(method)[:40],
        )


def _shards(index: bytes) -> list[str]:
    """The weight files that an index names. Raises DownloadError unless they are plain safetensors names."""
    try:
        names = sorted(set(json.loads(index)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _bad_answer(f"no weight_map in {INDEX}") from exc
    if not names or len(names) > MAX_SHARDS or not all(_is_weight_file(name) for name in names):
        raise _bad_answer(f"weight files in {INDEX} that cannot be")
    return names


def _is_known(name: str) -> bool:
    return bool(_KNOWN.fullmatch(name) or _MODULE_FILE.fullmatch(name))


def _is_weight_file(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and _KNOWN.fullmatch(name) is not None


def _file(entry: dict[str, Any]) -> RepoFile:
    name, size, git_id, lfs = (entry.get(key) for key in ("rfilename", "size", "blobId", "lfs"))
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else None
    is_named = isinstance(git_id, str) and _COMMIT.fullmatch(git_id)
    is_hashed = isinstance(sha256, str) and _SHA256.fullmatch(sha256)
    if type(size) is not int or not 0 <= size < 2**63 or not (is_hashed if lfs is not None else is_named):
        raise _bad_answer(f"no size and hash of {name}")
    return RepoFile(str(name), size, str(git_id), sha256)


def _bad_answer(what: str) -> DownloadError:
    return DownloadError(
        "The hub's answer makes no sense: {reason}.",
        "Do not trust this model, or look at HF_ENDPOINT.",
        reason=what,
    )


def total_bytes(files: Iterable[RepoFile]) -> int:
    """Of all the files together."""
    return sum(file.size for file in files)
