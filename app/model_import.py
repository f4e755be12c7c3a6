"""A model from this disk into the models folder: copied file by file, then opened and asked for one token.

The source is a stranger's. Only files of the known kinds are taken, none through a link that leads out of its folder,
and nothing is called a model before `core.load` has made a token with the copy. `launch.py add` runs this in a process
of its own, so that what a broken file does to a reader ends there and not in the page.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from app.model_facts import facts_of
from app.model_fit import LIBRARIES_BYTES, need, quantization_on_load
from app.paths import ADDING_SUFFIX, models_dir
from core.data.gguf_file import PART, is_gguf, open_gguf
from core.errors import AssistantError, ModelError
from core.files import sync
from core.hub.listing import SIDE_FILES
from core.model.folder import CONFIG, find_model, is_adapter, is_reward_model, refuse_links_outside
from core.model.weight_files import INDEX, weight_files

SPACE_MARGIN = 1.02
BLOCK_BYTES = 4 << 20
EVERY_S = 0.2
CARDS = ("README.md", "LICENSE")

Tell = Callable[[dict[str, object]], None]


def add_model(source: str, tell: Tell = lambda event: None, *, moves: bool = False) -> Path:
    """Copy a GGUF file or model folder into the models folder, check it there, and give its place.

    With `moves` its files leave where they are. `tell` hears {"done", "total"} in bytes, then {"checking": True}.
    Raises: AssistantError; OSError of the disk.
    """
    path = find_model(Path(source).expanduser())
    files = list(files_of(path))
    total, free = sum(file.stat().st_size for file in files), shutil.disk_usage(models_dir()).free
    if not moves and total * SPACE_MARGIN > free:
        raise ModelError(
            "The copy needs {needed:.1f} GB, {free:.1f} GB are free.", "Free some space.",
            needed=total / 1e9, free=free / 1e9,
        )  # fmt: skip
    target = _free_place(path)
    staging = models_dir() / f".{target.name}{ADDING_SUFFIX}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _take(files, staging, total, tell, moves=moves)
        tell({"checking": True})
        check(staging)
        staging.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def files_of(path: Path) -> Iterator[Path]:
    """The files that make a model. Raises: ModelError for what is no model to talk to, or leads out of its folder."""
    if is_gguf(path):
        open_gguf(path)
        found = PART.search(path.name)
        yield from [path] if found is None else sorted(path.parent.glob(f"{_stem(path)}-*-of-{found[2]}.gguf"))
        return
    if is_adapter(path):
        raise ModelError(
            "{name} is an adapter, which needs its base.", "Merge it first: export --to hf.", name=path.name
        )
    if is_reward_model(path):
        raise ModelError("{name} judges answers and writes none.", "Choose a model that writes.", name=path.name)
    refuse_links_outside(path)
    names = (*SIDE_FILES, *CARDS, INDEX, CONFIG)
    yield from (path / name for name in names if (path / name).is_file())
    yield from weight_files(path)


def check(path: Path) -> None:
    """Open a model and let it write one token. Raises: ModelError for one that does not.

    Where memory is too small for that, its tensors' names and shapes are held against its config alone.
    """
    from core.data.tokenizer import Tokenizer
    from core.inference.load import load
    from core.model.checkpoint import open_model

    place = find_model(path)
    config, _ = open_model(place)[0].config, Tokenizer.load(place)
    needed = need(config, quantization_on_load(config, facts_of(place).quantization))
    if needed.most_bytes + LIBRARIES_BYTES > psutil.virtual_memory().available:
        return
    model = load(place, max_seq_len=min(config.max_position_embeddings, 256), max_running=1)
    try:
        model.generate("1", max_new_tokens=1, temperature=0)
    finally:
        model.close()


def run(source: str, *, moves: bool = False) -> int:
    """Add a model and say how far it is as lines of JSON, then where it is or why not. The exit status."""

    def tell(event: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    try:
        place = add_model(source, tell, moves=moves)
    except AssistantError as exc:
        error = exc
    except OSError as exc:
        error = ModelError(
            "{path} cannot be copied: {reason}.", "Check the disk's free space and the permissions.",
            path=exc.filename or source, reason=exc.strerror,
        )  # fmt: skip
    else:
        tell({"path": str(place)})
        return 0
    tell({"error": error.to_dict()})
    return 1


def _take(files: list[Path], folder: Path, total: int, tell: Tell, *, moves: bool) -> None:
    """Copy content alone: no links, no permissions, no names but the files' own; or move the files."""
    folder.mkdir(mode=0o700)
    done, told = 0, 0.0
    for file in files:
        if moves and not file.is_symlink():
            shutil.move(file, folder / file.name)
            sync(folder / file.name)
            continue
        with file.open("rb") as source, (folder / file.name).open("xb") as target:
            while block := source.read(BLOCK_BYTES):
                target.write(block)
                done += len(block)
                if time.monotonic() - told >= EVERY_S:
                    told = time.monotonic()
                    tell({"done": done, "total": total})
        sync(folder / file.name)
    sync(folder)


def _free_place(path: Path) -> Path:
    """A folder of the models folder that is not there yet, called after the model."""
    name = _stem(path) if is_gguf(path) else (path.parent.name if path.name == "model" else path.name)
    stem = name.lstrip(".") or "model"
    places = (models_dir() / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(place for place in places if not place.exists())


def _stem(path: Path) -> str:
    """The name of a GGUF file without its number among several."""
    return PART.sub("", path.name).removesuffix(path.suffix)
