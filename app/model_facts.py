"""What a model's own files say of it: shape, size, how its weights are stored, licence. No weight is read."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.model_config import MODEL_TYPES, ModelConfig
from core.files import read_bytes
from core.model.folder import ADAPTER_CONFIG, CONFIG, GGUF_SUFFIX, find_model, is_adapter, read_json

README = "README.md"
MAX_LICENCE_CHARS = 40
_LICENCE = re.compile(r"^licen[cs]e:\s*[\"']?([\w .+-]+)[\"']?\s*$", re.MULTILINE)
# `general.file_type` of a GGUF file, by llama.cpp's numbers.
GGUF_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """`quantization` is how the weights are stored: int4, int8, a GGUF type, or the floats' dtype."""

    config: ModelConfig
    num_bytes: int
    quantization: str
    licence: str
    is_adapter: bool


def facts_of(path: Path) -> Facts:
    """The facts of a model folder or GGUF file, of an adapter with its base's shape. Raises AssistantError, OSError."""
    if path.suffix.lower() == GGUF_SUFFIX:
        return _gguf_facts(path)
    adapter = is_adapter(path)
    base = find_model(str(read_json(path / ADAPTER_CONFIG).get("base_model_name_or_path"))) if adapter else path
    config = _config(base)
    values = read_json(base / CONFIG) if base.is_dir() else {}
    files = [file for file in path.iterdir() if file.is_file()]
    return Facts(
        config=config,
        num_bytes=sum(file.stat().st_size for file in files),
        quantization=_stored(values),
        licence=_licence(path),
        is_adapter=adapter,
    )


def _config(path: Path) -> ModelConfig:
    if path.is_dir() and (values := read_json(path / CONFIG)).get("model_type") in MODEL_TYPES:
        return ModelConfig.from_hf(values)
    from core.model.checkpoint import load_config  # imports torch, which only these forms need

    return load_config(path)


def _stored(values: dict[str, Any]) -> str:
    settings = values.get("quantization_config")
    if isinstance(settings, dict) and settings.get("bits") in (4, 8):
        return f"int{settings['bits']}"
    dtype = values.get("dtype") or values.get("torch_dtype")
    return dtype if isinstance(dtype, str) and dtype.isidentifier() else ""


def _licence(folder: Path) -> str:
    """The licence in the head of the model card."""
    card = folder / README
    try:
        text = read_bytes(card).decode("utf-8", "replace") if card.is_file() else ""
    except OSError:
        return ""
    head = text.split("\n---", 1)[0] if text.startswith("---") else ""
    found = _LICENCE.search(head)
    return found[1].strip()[:MAX_LICENCE_CHARS] if found else ""


def _gguf_facts(path: Path) -> Facts:
    from core.data.gguf_file import open_gguf  # this and torch take a while to import
    from core.model.gguf_read import gguf_config

    file = open_gguf(path)
    licence = file.metadata.get("general.license")
    kind = file.metadata.get("general.file_type")
    return Facts(
        config=gguf_config(file),
        num_bytes=path.stat().st_size,
        quantization=GGUF_TYPES.get(kind, "GGUF") if isinstance(kind, int) else "GGUF",
        licence=licence[:MAX_LICENCE_CHARS] if isinstance(licence, str) else "",
        is_adapter=False,
    )
