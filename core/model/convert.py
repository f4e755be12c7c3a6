"""From one model folder to another: quantised, or in plain Hugging Face form."""

from pathlib import Path
from typing import Any

import torch

from core.config.param_config import ExportConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.files import write_json
from core.model.checkpoint import CONFIG, GENERATION, find_model, load_model, quantization_scheme, read_json, save_model
from core.model.quantize import INT4, INT8, Scheme, quantize_
from core.model.transformer import Transformer

SCHEMES = {"int8": INT8, "int4": INT4}


def quantize(source: str | Path, output: str | Path, *, scheme: Scheme = INT8) -> Path:
    """Write a weight-only quantised copy of a model or run folder.

    Raises: ModelError for a model that is quantised already, a full disk.
    """
    folder, target = _places(source, output)
    if quantization_scheme(folder) is not None:
        raise ModelError(f"{folder} is quantised already.", "Start from the unquantised model.")
    model = load_model(folder)
    quantize_(model, scheme)
    extra = {**_origin(folder), "quantization_config": scheme.to_config()}
    _save(model, folder, target, extra)
    return target


def export(source: str | Path, output: str | Path, *, to: str = "hf", dtype: str | None = None) -> Path:
    """Write a copy for other programs (`hf`: transformers, vLLM) or a smaller one (`int8`, `int4`).

    Raises: ConfigError for a form that there is not or a dtype that it has not, ModelError for a model that is
    quantised already or has lost what it asks for.
    """
    options = ExportConfig(to=to, dtype=dtype)
    if options.to in SCHEMES:
        return quantize(source, output, scheme=SCHEMES[options.to])
    folder, target = _places(source, output)
    if quantization_scheme(folder) is not None:
        raise ModelError(f"{folder} is quantised, which other programs cannot read.", "Export the unquantised model.")
    model = load_model(folder, dtype=getattr(torch, options.dtype or "float32"))
    _save(model, folder, target, _origin(folder))
    return target


def _save(model: Transformer, source: Path, target: Path, extra: dict[str, Any]) -> None:
    """Write the model with what stands beside it: tokenizer, and stop ids and sampling that it asks for."""
    save_model(model, target, tokenizer=Tokenizer.load(source), extra=extra)
    if (source / GENERATION).exists():
        write_json(target / GENERATION, read_json(source / GENERATION))


def _places(source: str | Path, output: str | Path) -> tuple[Path, Path]:
    """The model's folder and the one to write. Raises ModelError when they are the same."""
    folder, target = find_model(source), Path(output)
    if target.exists() and target.samefile(folder):
        raise ModelError(f"{target} is the model itself and would be overwritten.", "Choose another folder.")
    if target.is_dir() and any(target.iterdir()):
        raise ModelError(f"{target} exists already.", "Choose another folder, or delete it.")
    return folder, target


def _origin(folder: Path) -> dict[str, Any]:
    """What our training noted in a model's config.json, to be carried along."""
    config = read_json(folder / CONFIG)
    return {"astrai": config["astrai"]} if "astrai" in config else {}
