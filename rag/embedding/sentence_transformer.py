"""Any sentence-transformers model as an embedder; the library, which takes seconds to import, is loaded here alone.

Weights are safetensors, modules are the library's own, and nothing is fetched.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.files import read_bytes, sha256_file

MODULES_FILE: Final = "modules.json"
OWN_MODULES: Final = "sentence_transformers."
PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
WANTED: Final = ("*.json", "*.txt", "*.model", "*.safetensors")
REMEDY: Final = "Choose a sentence-transformers model whose weights are safetensors."


class SentenceTransformerEmbedder:
    """A local folder's model, with its own prompts for questions and passages."""

    def __init__(self, folder: Path, *, batch_size: int = 32) -> None:
        """Raises ModelError for a folder that is unsafe or that the library cannot load."""
        check_is_safe(folder)
        from sentence_transformers import SentenceTransformer

        try:
            self._model: SentenceTransformer = SentenceTransformer(
                str(folder),
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as exc:  # whatever a broken folder makes the libraries raise
            reason = (str(exc).splitlines() or [type(exc).__name__])[0]
            raise ModelError("{folder} cannot be loaded: {reason}", REMEDY, folder=folder, reason=reason) from exc
        dim = self._model.get_embedding_dimension()
        if dim is None:
            raise ModelError("{folder} does not say how long its vectors are.", REMEDY, folder=folder)
        self.dim: int = dim
        self.id = f"sentence-transformers-{digest(folder)[:16]}"
        self._batch_size = batch_size

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(texts), dim), with the model's prompt for documents."""
        vectors = self._model.encode_document(
            list(texts), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return self._checked(vectors, len(texts))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(texts), dim), with the model's prompt for questions."""
        vectors = self._model.encode_query(
            list(texts), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return self._checked(vectors, len(texts))

    def count_tokens(self, text: str) -> int:
        """Tokens without those the model adds."""
        return len(self._model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _checked(self, vectors: object, count: int) -> NDArray[np.float32]:
        result = np.asarray(vectors, np.float32).reshape(count, self.dim)
        if not np.isfinite(result).all():
            raise ModelError("The embedder gives vectors that are not finite.", "Choose another embedder.")
        return result


def snapshot(name: str) -> Path:
    """The folder of a hub name in the hub's cache. Raises: ModelError where it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as exc:
        raise ModelError(
            "The embedder {name} is not on this machine.",
            "Check the name and download it, or give the folder of a model.",
            name=name,
        ) from exc


def check_is_safe(folder: Path) -> None:
    """Refuse weights that are pickles alone, and modules that are not the library's. Raises: ModelError."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with_safetensors = {path.parent for path in files if path.suffix == ".safetensors"}
    if not with_safetensors:
        raise ModelError("{folder} has no safetensors file.", REMEDY, folder=folder)
    for path in files:
        if path.suffix in PICKLES and path.parent not in with_safetensors:
            raise ModelError("{path} is a pickle, which can run anything when it is read.", REMEDY, path=path)
    if (folder / MODULES_FILE).is_file():
        _check_modules(folder / MODULES_FILE)


def digest(folder: Path) -> str:
    """A hash of every file that decides the vectors: weights, tokenizer, settings."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".json", ".txt"}):
        found.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode())
    return found.hexdigest()


def _check_modules(path: Path) -> None:
    try:
        modules = [(str(module["type"]), str(module["path"])) for module in json.loads(read_bytes(path))]
    except (OSError, ValueError, RecursionError, TypeError, KeyError) as exc:
        raise ModelError("{path} is no list of modules: {reason}.", REMEDY, path=path, reason=exc) from exc
    for kind, place in modules:
        if not kind.startswith(OWN_MODULES):
            raise ModelError(
                "{path} names the module {module!r}, which is not sentence-transformers' own.",
                REMEDY,
                path=path,
                module=kind,
            )
        if PurePosixPath(place).is_absolute() or ".." in place or "\\" in place or ":" in place:
            raise ModelError("{path} names the folder {place!r}, outside of the model.", REMEDY, path=path, place=place)
