"""The engine without an interface: download, load, chat, generate, train, evaluate, quantise, merge, export.

    import core

    model = core.load("models/starter")
    for piece in model.chat([{"role": "user", "content": "你好"}], max_new_tokens=64):
        print(piece, end="")
    text = model.generate("Once upon a time", max_new_tokens=32, temperature=0)

Importing `core` costs nothing: each function brings its libraries when it is first used.
"""

import importlib
from typing import Any

_HOMES = {
    "download": "core.hub",
    "load": "core.inference.load",
    "train": "core.trainer",
    "evaluate": "core.evaluation",
    "quantize": "core.model.convert",
    "export": "core.model.convert",
    "merge": "core.model.convert",
    "AssistantError": "core.errors",
}
__all__ = ["AssistantError", "download", "evaluate", "export", "load", "merge", "quantize", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'core' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
