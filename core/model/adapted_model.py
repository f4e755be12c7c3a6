"""Adapter folders as models: the base that they name, checked, and base and adapter made one."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from core.data.tokenizer import JSON_FILE, SENTENCEPIECE_FILE
from core.errors import ModelError
from core.model.adapters import add_adapters_, merge_
from core.model.checkpoint import load_model
from core.model.folder import ADAPTER_CONFIG, AdapterBase, find_model, is_adapter
from core.model.peft_format import load_values_, read_adapter, read_base
from core.model.quantize import Scheme, dequantize_, quantize_
from core.model.transformer import Transformer
from core.model.weight_files import weights_hash

logger = logging.getLogger(__name__)


def base_folder(folder: Path) -> Path:
    """The model that an adapter folder was trained on. Raises ModelError if it is not here, or another one.

    A relative path is looked for beside the adapter first. An adapter that was not trained here has no hash to check.
    """
    base = read_base(folder)
    try:
        path = _find_base(folder, base)
    except ModelError as exc:
        raise ModelError(
            "{name} is an adapter of {base}, which is not here: {reason}",
            "Put that model there, or correct base_model_name_or_path in {file}.",
            name=folder.name,
            base=base.path,
            reason=exc.sentence,
            file=ADAPTER_CONFIG,
        ) from exc
    found = weights_hash(path) if base.weights_hash else None
    if found != base.weights_hash:
        raise _of_another_base(folder, base, str(path), str(found))
    return path


def adapter_chain(path: Path) -> tuple[Path, list[Path]]:
    """The whole model at the bottom of a folder, and the adapters from there up to the folder; none for a whole model.

    Raises ModelError as `base_folder` does, and for adapters that stand on themselves.
    """
    adapters: list[Path] = []
    while is_adapter(path):
        _refuse_circle(path, adapters)
        adapters.insert(0, path)
        path = base_folder(path)
    return path, adapters


def adapters_over(folder: Path, model: Path) -> list[Path]:
    """The adapters from a whole model up to an adapter folder, to be served beside that very model.

    A base is known by the hash that the adapter keeps, else by its path; of one that has no hash and whose base is not
    here, nothing can be known but its shape. Raises ModelError for an adapter of another model.
    """
    adapters: list[Path] = []
    served_hash = functools.cache(lambda: weights_hash(model))
    while True:
        if not is_adapter(folder):
            raise ModelError(
                "{folder} holds no adapter.", "Choose a folder with {file}.", folder=folder, file=ADAPTER_CONFIG
            )
        _refuse_circle(folder, adapters)
        adapters.insert(0, folder)
        base = read_base(folder, is_needed=False)
        if base.weights_hash == served_hash() if base.weights_hash else not base.path:
            return adapters
        try:
            path = _find_base(folder, base)
        except ModelError:
            if base.weights_hash:
                raise _of_another_base(folder, base, str(model), served_hash()) from None
            logger.warning("%s is of %s, which is not here to be compared; its shape fits", folder, base.path)
            return adapters
        if is_adapter(path):
            folder = base_folder(folder)
        elif not base.weights_hash and (path.samefile(model) or weights_hash(path) == served_hash()):
            return adapters
        else:
            raise _of_another_base(folder, base, str(model), served_hash())


def model_folder(path: Path) -> Path:
    """The folder or file that holds the weights and the shape: of an adapter its base's, and so on."""
    return adapter_chain(path)[0]


def tokenizer_folder(path: Path) -> Path:
    """The folder or file that holds a model's tokenizer: an adapter may have its own, or take its base's."""
    root, adapters = adapter_chain(path)
    names = (JSON_FILE, SENTENCEPIECE_FILE)
    return next((folder for folder in reversed(adapters) if any((folder / name).exists() for name in names)), root)


def _find_base(folder: Path, base: AdapterBase) -> Path:
    beside = folder / base.path
    return find_model(beside if beside.exists() else base.path)


def _refuse_circle(folder: Path, above: Sequence[Path]) -> None:
    if any(folder.samefile(other) for other in above):
        raise ModelError(
            "{name} is an adapter of itself.", "Correct base_model_name_or_path in {file}.",
            name=folder.name, file=ADAPTER_CONFIG,
        )  # fmt: skip


def _of_another_base(folder: Path, base: AdapterBase, path: str, found: str) -> ModelError:
    return ModelError(
        "{name} was trained on a model whose weights hash to {known}…; those of {path} hash to {found}…."
        if base.weights_hash
        else "{name} was trained on {base}, and the model is {path}, whose weights are others.",
        "Take the right model, or correct base_model_name_or_path in {file}.",
        name=folder.name,
        known=(base.weights_hash or "")[:12],
        base=base.path,
        path=path,
        found=found[:12],
        file=ADAPTER_CONFIG,
    )


def load_merged(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    scheme: Scheme | None = None,
    blocks_only: bool = False,
) -> Transformer:
    """Open a model as `load_model` does, and an adapter folder as its base with the adapter merged into it.

    A merged model is computed in floats and then quantised where a `scheme` asks for it. Raises ModelError.
    """
    if not is_adapter(path):
        return load_model(path, device=device, dtype=dtype, scheme=scheme, blocks_only=blocks_only)
    root, folders = adapter_chain(path)
    model = load_model(root, device=device, dtype=dtype)
    dequantize_(model, dtype or torch.float32)
    for folder in folders:
        adapter = read_adapter(folder, model.config)
        add_adapters_(model, adapter.shape, layers=adapter.layers, seed=0)
        load_values_(model, adapter)
        merge_(model)
    if scheme is not None:
        quantize_(model.model.layers if blocks_only else model, scheme)
    return model.eval()
