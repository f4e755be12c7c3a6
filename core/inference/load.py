"""From a folder to a model that is ready to generate."""

import logging
from pathlib import Path

import psutil
import torch

from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError
from core.inference.generator import LanguageModel
from core.model.checkpoint import CONFIG, load_config, load_model, quantization_bits
from core.model.quantize import quantize_

logger = logging.getLogger(__name__)

QUANTIZATIONS = ("auto", "none", "int8")
# Below this size a model is read faster than it is quantised, and loses nothing by staying as it is.
AUTO_QUANTIZE_PARAMETERS = 200_000_000
DEFAULT_MAX_SEQ_LEN = 4096


def load(
    path: str | Path, *, device: str = "auto", quantization: str = "auto", max_seq_len: int | None = None
) -> LanguageModel:
    """Open a model or run folder. `quantization` auto takes int8 for a large model on a CPU.

    `max_seq_len` bounds the context, in tokens; by default the model's own, at most 4096.
    Raises ModelError, or ConfigError for settings this machine or build lacks.
    """
    folder = _resolve(Path(path))
    if quantization not in QUANTIZATIONS:
        raise ConfigError(f"quantization {quantization!r} is not available.", f"Use {', '.join(QUANTIZATIONS)}.")
    config = load_config(folder)
    limit = config.max_position_embeddings
    if max_seq_len is not None and not 1 <= max_seq_len <= limit:
        raise ConfigError(f"max_seq_len {max_seq_len} is outside 1 … {limit}.", "The model's context is the limit.")
    target = resolve_device(device)
    if target.type == "cpu":
        torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
    tokenizer = Tokenizer.load(folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelError(
            f"The tokenizer has {tokenizer.vocab_size} ids, the model {config.vocab_size} embeddings.",
            "Download the model folder again.",
        )
    model = load_model(folder, device=target, dtype=torch.float32 if target.type == "cpu" else torch.bfloat16)
    bits = quantization_bits(folder)
    is_large = config.num_parameters >= AUTO_QUANTIZE_PARAMETERS and target.type == "cpu"
    if bits is None and (quantization == "int8" or (quantization == "auto" and is_large)):
        quantize_(model, 8)
        bits = 8
    return LanguageModel(
        model,
        tokenizer,
        name=_name(folder),
        quantization=f"int{bits}" if bits else str(model.model.norm.weight.dtype).removeprefix("torch."),
        max_seq_len=max_seq_len or min(limit, DEFAULT_MAX_SEQ_LEN),
    )


def resolve_device(name: str) -> torch.device:
    """The device to run on. Raises ConfigError for one this machine lacks."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available.get(name):
        raise ConfigError(f"device {name!r} is not available here.", "Use auto or cpu.")
    return torch.device(name)


def _resolve(path: Path) -> Path:
    """A model folder, the model of a run folder or of its newest checkpoint."""
    if (path / "model" / CONFIG).exists():
        return path / "model"
    checkpoints = sorted((path / "checkpoints").glob("step-*"), reverse=True)
    if checkpoints:
        return checkpoints[0]
    if path.suffix == ".gguf":
        raise ModelError(f"{path.name} is a GGUF file, which cannot be read yet.", "Use the safetensors folder.")
    if not path.is_dir():
        raise ModelError(
            f"{path} is not a folder. Models cannot be downloaded by name yet.",
            "Download the model's folder yourself and give its path.",
        )
    return path


def _name(folder: Path) -> str:
    is_part = folder.name == "model" or folder.parent.name == "checkpoints"
    return folder.parent.name if folder.name == "model" else folder.parents[1].name if is_part else folder.name
