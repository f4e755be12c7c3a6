"""From one model to another: quantised, in plain Hugging Face form, or as a GGUF file."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.config.param_config import EXPORT_DTYPES, ExportConfig
from core.data.gguf_file import SUFFIX, is_gguf
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.files import write_json
from core.model.adapted_model import load_merged, model_folder, tokenizer_folder
from core.model.checkpoint import (
    CONFIG,
    GENERATION,
    cannot_write,
    find_model,
    load_config,
    load_sampling,
    open_model,
    quantization_scheme,
    read_json,
    save_model,
    weights_of,
)
from core.model.folder import ADAPTER_CONFIG, is_adapter
from core.model.gguf_write import GGUFSource, write_gguf
from core.model.quantize import INT4, INT8, Scheme
from core.model.transformer import Transformer
from core.model.weights import StoredTensor

SCHEMES = {"int8": INT8, "int4": INT4}


def quantize(source: str | Path, output: str | Path, *, scheme: Scheme = INT8) -> Path:
    """Write a weight-only quantised copy of a model, adapter or run folder; an adapter is merged into its base.

    Raises: ModelError for a model that is quantised already, a full disk.
    """
    path, target = _places(source, output)
    if _is_quantised(path):
        raise ModelError("{path} is quantised already.", "Start from the unquantised model.", path=path)
    model = load_merged(path, scheme=scheme)
    extra = {**_origin(path), "quantization_config": scheme.to_config()}
    _save(model, path, target, extra)
    return target


def export(source: str | Path, output: str | Path, *, to: str = "hf", dtype: str | None = None) -> Path:
    """Write a copy for other programs (`hf`: transformers, vLLM; `gguf`: llama.cpp) or a smaller one
    (`int8`, `int4`).

    Raises: ConfigError for a form that there is not or a dtype that it has not, ModelError for a model that the
    form cannot hold or that has lost what it asks for.
    """
    options = ExportConfig(to=to, dtype=dtype)
    if options.to in SCHEMES:
        return quantize(source, output, scheme=SCHEMES[options.to])
    write = _export_gguf if options.to == "gguf" else _export_hf
    return write(source, output, options.dtype or EXPORT_DTYPES[options.to][0])


def merge(source: str | Path, output: str | Path, *, to: str = "hf", dtype: str | None = None) -> Path:
    """Make an adapter and its base one model, which needs neither of them; `to` and `dtype` are those of `export`.

    Raises: ModelError for what is no adapter, and as `export` does.
    """
    if not is_adapter(path := find_model(source)):
        raise ModelError("{path} is a whole model.", "Give the run or folder of an adapter.", path=path)
    return export(source, output, to=to, dtype=dtype)


def _export_hf(source: str | Path, output: str | Path, dtype: str) -> Path:
    path, target = _places(source, output)
    if _is_quantised(path):
        raise ModelError(
            "{path} is quantised, which other programs cannot read.", "Export the unquantised model.", path=path
        )
    if load_config(model_folder(path)).model_type == "astrai":
        raise ModelError(
            "{path} has AstrAI's own gate or q/k norm after RoPE, which transformers does not run.",
            "Export to int8, or use it as it is.",
            path=path,
        )
    _save(load_merged(path, dtype=getattr(torch, dtype)), path, target, _origin(path))
    return target


def _export_gguf(source: str | Path, output: str | Path, dtype: str) -> Path:
    """One file. A model in our own int8 or int4 is written from what its weights stand for, an adapter in its base."""
    path, target = _places(source, output)
    if not is_gguf(target):
        raise ModelError(
            "{path} does not end in {suffix}.", "Call it {name}{suffix}.", path=target, name=target.name, suffix=SUFFIX
        )
    model, stored = _open_merged(path) if is_adapter(path) else open_model(path)
    name = path.absolute().parent.name if path.name == "model" else path.stem if is_gguf(path) else path.absolute().name
    described = model_folder(path)
    made_of = GGUFSource(name, model, stored, Tokenizer.load(tokenizer_folder(path)), load_sampling(described))
    try:
        write_gguf(made_of, target, dtype=dtype)
    except OSError as exc:
        raise cannot_write(target, model.config.num_parameters * 2, exc) from exc
    return target


def _open_merged(path: Path) -> tuple[Transformer, dict[str, StoredTensor]]:
    """An adapter in its base, in memory, as `open_model` gives a whole model."""
    model = load_merged(path, dtype=torch.float32)
    tensors = weights_of(model)
    return model, {
        name: StoredTensor(tuple(tensor.shape), tensor.dtype, partial(torch.Tensor.clone, tensor))
        for name, tensor in tensors.items()
    }


def _save(model: Transformer, source: Path, target: Path, extra: dict[str, Any]) -> None:
    """Write the model with what stands beside it: tokenizer, and stop ids and sampling that it asks for."""
    save_model(model, target, tokenizer=Tokenizer.load(tokenizer_folder(source)), extra=extra)
    generation = model_folder(source) / GENERATION
    if generation.exists():
        write_json(target / GENERATION, read_json(generation))


def _is_quantised(path: Path) -> bool:
    """Whether the weights are whole numbers. Those of an adapter's base become floats when it is merged."""
    return not is_adapter(path) and quantization_scheme(path) is not None


def _places(source: str | Path, output: str | Path) -> tuple[Path, Path]:
    """The model and the place to write. Raises ModelError when they are the same, or the place is taken."""
    path, target = find_model(source), Path(output)
    if target.exists() and target.samefile(path):
        raise ModelError("{path} is the model itself and would be overwritten.", "Choose another place.", path=target)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ModelError("{path} exists already.", "Choose another place, or delete it.", path=target)
    return path, target


def _origin(path: Path) -> dict[str, Any]:
    """What our training noted in a model's config.json, to be carried along."""
    config = {} if is_gguf(path) else read_json(path / (ADAPTER_CONFIG if is_adapter(path) else CONFIG))
    return {"astrai": config["astrai"]} if "astrai" in config else {}
