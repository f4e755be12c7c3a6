"""From one model folder to another: quantised, or in plain Hugging Face form."""

from pathlib import Path

import torch

from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError
from core.model.checkpoint import load_model, quantization_bits, save_model
from core.model.quantize import quantization_settings, quantize_

FORMATS = ("hf", "int8")


def quantize(source: str | Path, output: str | Path, *, bits: int = 8) -> Path:
    """Write a weight-only quantised copy of a model folder. Raises ModelError."""
    folder = Path(source)
    if quantization_bits(folder) is not None:
        raise ModelError(f"{folder} is quantised already.", "Start from the unquantised model.")
    model = load_model(folder)
    quantize_(model, bits)
    extra = {"quantization_config": quantization_settings(bits)}
    save_model(model, Path(output), tokenizer=Tokenizer.load(folder), extra=extra)
    return Path(output)


def export(source: str | Path, output: str | Path, *, to: str = "hf", dtype: str = "float32") -> Path:
    """Write a copy for other programs (`hf`: transformers, vLLM) or a smaller one (`int8`).

    Raises ConfigError for an unknown form, ModelError for a model that has lost what it asks for.
    """
    if to not in FORMATS:
        raise ConfigError(f"{to!r} is not a form to export to.", f"Use {' or '.join(FORMATS)}.")
    if to == "int8":
        return quantize(source, output)
    folder = Path(source)
    if quantization_bits(folder) is not None:
        raise ModelError(f"{folder} is quantised, which other programs cannot read.", "Export the unquantised model.")
    save_model(load_model(folder, dtype=getattr(torch, dtype)), Path(output), tokenizer=Tokenizer.load(folder))
    return Path(output)
