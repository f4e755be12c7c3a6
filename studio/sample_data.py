"""`python -m studio.sample_data REQUEST.json FOLDER`: prepare the beginning of each file, to measure a run with.

REQUEST is what a job's `prepare` says, with "base" for the model whose tokenizer is taken where it names none. The data
set comes to FOLDER/data, and the share of the files' bytes that was read to FOLDER/share.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

from core.config.prepare_config import PrepareConfig
from core.data.prepare import prepare
from core.data.readers import is_readable_name, read_file
from core.data.sample import sample_texts
from core.data.streams import InputFile, input_files
from core.data.tokenizer import Tokenizer
from core.errors import AssistantError
from core.files import read_json_object, write_json
from core.model.folder import find_model
from core.parallel.priority import asks_for_background, lower_priority

# So much JSON in all, each file its share by its size on disk.
MAX_BYTES, MIN_FILE_BYTES = 2 << 20, 1 << 14
VOCABULARY_CHARS = 4 << 20


def main() -> int:
    if asks_for_background("0"):
        lower_priority()
    try:
        sample(read_json_object(Path(sys.argv[1])), Path(sys.argv[2]))
    except AssistantError as exc:
        sys.stdout.write(json.dumps({"error": exc.to_dict(), "kind": exc.kind}) + "\n")
        return 1
    return 0


def sample(request: dict[str, Any], folder: Path) -> None:
    """Write the sample. Raises DataError as `prepare` does, ModelError for a tokenizer that cannot be read."""
    options = dict(request)
    names = ("paths", "tokenizer", "vocab_size", "base")
    paths, source, vocab_size, base = (options.pop(name, None) for name in names)
    files = [file for file in input_files([Path(path) for path in paths or ()]) if is_readable_name(file.name)]
    if vocab_size:
        tokenizer = Tokenizer.train(sample_texts(files, VOCABULARY_CHARS), vocab_size=vocab_size)
    else:
        tokenizer = Tokenizer.load(find_model(source or base))
    total = sum(file.path.stat().st_size for file in files)
    read = 0
    for number, file in enumerate(files):
        limit = max(MAX_BYTES * file.path.stat().st_size // max(total, 1), MIN_FILE_BYTES)
        beginning = _Beginning(file, limit)
        beginning.write(folder / "files" / f"{number:06d}.jsonl")
        read += beginning.num_bytes
    config = PrepareConfig.from_dict({**options, "workers": 1})
    prepare([folder / "files"], folder / "data", tokenizer, config)
    write_json(folder / "share.json", {"share": min(read / total, 1.0) if total else 1.0})


class _Beginning:
    """The records of a file's beginning, as so many bytes of JSON lines."""

    def __init__(self, file: InputFile, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes
        self.num_bytes = 0  # that were read from disk

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            for record in read_file(self._file, lambda *_: None, self._advance):
                row = {"text": record.value} if isinstance(record.value, str) else record.value
                target.write(json.dumps(row, default=str).encode() + b"\n")
                if target.tell() >= self._max_bytes:
                    return

    def _advance(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes


if __name__ == "__main__":
    raise SystemExit(main())
