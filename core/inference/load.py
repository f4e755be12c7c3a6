"""From a folder to a model that is ready to generate."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from core.config.model_config import ModelConfig
from core.config.param_config import DEFAULT_MAX_SEQ_LEN, LoadConfig, auto_quantization
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError
from core.hub.places import DownloadRecord
from core.inference.generator import LanguageModel
from core.model.adapted_model import adapter_chain, tokenizer_folder
from core.model.bnb import quantize_with_bitsandbytes_
from core.model.checkpoint import find_model, load_config, load_model, load_sampling, quantization_scheme
from core.model.device import free_memory_bytes, num_usable_cores, resolve_device
from core.model.paged_cache import cache_bytes
from core.model.quantize import INT4, INT8, Scheme, dequantize_
from core.model.transformer import Transformer

logger = logging.getLogger(__name__)

# Below this size waking a second thread costs more than it saves: the starter decodes 264 tokens/s with one and
# 143 with two (docs/lab_notebook.md).
ONE_THREAD_PARAMETERS = 20_000_000


def load(
    path_or_hub_name: str | Path,
    *,
    device: str = "auto",
    quantization: str = "auto",
    max_seq_len: int | None = None,
    max_running: int = 8,
    speculation: bool = True,
    kv_cache: str = "fp16",
    num_threads: int = 0,
    adapters: Mapping[str, str | Path] | None = None,
) -> LanguageModel:
    """Open a model, adapter or run folder, a GGUF file, or a hub name with files on this disk; see LoadConfig.

    An adapter is served beside its base, which is quantised as it is: merged, a small change would be lost in rounding
    (docs/decisions/0012). `adapters` are folders of more of them by name, for `adapter=name`. Nothing is downloaded.
    Raises ModelError, or ConfigError for settings this machine or build lacks.
    """
    options = LoadConfig(
        device=device,
        quantization=quantization,
        max_seq_len=max_seq_len,
        max_running=max_running,
        speculation=speculation,
        kv_cache=kv_cache,
        num_threads=num_threads,
    )
    folder = find_model(path_or_hub_name)
    source, default_adapters = adapter_chain(folder)
    config = load_config(source)
    target = resolve_device(options.device)
    dtype = torch.float32 if target.type == "cpu" else torch.bfloat16
    size = _context(config, options, target, dtype)
    tokenizer = _tokenizer(folder, config)
    if target.type == "cpu":
        is_tiny = config.num_parameters < ONE_THREAD_PARAMETERS
        torch.set_num_threads(options.num_threads or (1 if is_tiny else num_usable_cores()))
        scheme = quantization_scheme(source) or _scheme(config, options.quantization)
        model = load_model(source, device=target, dtype=dtype, scheme=scheme)
        form = scheme.name if scheme else "float32"
    else:
        model = load_model(source, device=target, dtype=dtype)
        form = _prepare_for_gpu(model, options.quantization)
    loaded = LanguageModel(
        model,
        tokenizer,
        name=_name(folder),
        quantization=form,
        max_seq_len=size,
        sampling=load_sampling(source),
        base=source,
        default_adapters=default_adapters,
        max_running=options.max_running,
        speculation=options.speculation,
        kv_cache=options.kv_cache,
    )
    for name, path in (adapters or {}).items():
        loaded.load_adapter(name, path)
    return loaded


def _tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    """A model's tokenizer. Raises ModelError for one of more ids than the model has."""
    tokenizer = Tokenizer.load(tokenizer_folder(folder))
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelError(
            "The tokenizer has {count} ids, the model {embeddings} embeddings.",
            "Download the model folder again.",
            count=tokenizer.vocab_size,
            embeddings=config.vocab_size,
        )
    return tokenizer


def _scheme(config: ModelConfig, quantization: str) -> Scheme | None:
    """How to quantise float weights on a CPU; None is not at all."""
    name = auto_quantization(config.num_parameters) if quantization == "auto" else quantization
    return {"none": None, "int8": INT8, "int4": INT4}[name]


def _prepare_for_gpu(model: Transformer, quantization: str) -> str:
    """Bring a model into the form that a GPU runs, in place; return the form's name.

    What is quantised in our own way becomes bf16; bitsandbytes quantises what is asked for, on CUDA alone.
    """
    norm = model.model.norm.weight
    dequantize_(model, norm.dtype)
    form = str(norm.dtype).removeprefix("torch.")
    if quantization in ("auto", "none"):
        return form
    if norm.device.type != "cuda":
        logger.warning("%s is not for %s: the model runs in %s", quantization, norm.device.type, form)
        return form
    try:
        quantize_with_bitsandbytes_(model, int(quantization.removeprefix("int")))
    except ConfigError as exc:
        logger.warning("%s The model runs in %s.", exc.message, form)
        return form
    return quantization


def _context(config: ModelConfig, options: LoadConfig, device: torch.device, dtype: torch.dtype) -> int:
    """Tokens of context to keep room for. Raises ConfigError beyond the model or the memory."""
    limit = config.max_position_embeddings
    size = options.max_seq_len or min(limit, DEFAULT_MAX_SEQ_LEN)
    if size > limit:
        raise ConfigError(
            "max_seq_len {size} is outside 1 … {most}.", "The model's context is the limit.", size=size, most=limit
        )
    needed, free = cache_bytes(config, size, dtype), free_memory_bytes(device)
    if needed > free:
        raise ConfigError(
            "A context of {size} tokens needs {needed:.1f} GiB, {free:.1f} GiB are free.",
            "Set max_seq_len lower.",
            size=size,
            needed=needed / 2**30,
            free=free / 2**30,
        )
    return size


def _name(folder: Path) -> str:
    """What people call a model: its folder, its run, or its name on the hub."""
    folder = folder.absolute()
    if record := DownloadRecord.read(folder):
        return record.name
    if folder.parent.name == "snapshots":  # models--OWNER--NAME/snapshots/REVISION
        return folder.parents[1].name.removeprefix("models--").replace("--", "/")
    if folder.parent.name == "checkpoints":
        return folder.parents[1].name
    return folder.parent.name if folder.name == "model" else folder.name
