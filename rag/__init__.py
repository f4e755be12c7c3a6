"""The library: the user's own files, searched and cited.

    from rag import KnowledgeBase

    kb = KnowledgeBase(folder)
    kb.add([file_or_folder])
    hits = kb.search("…", k=5)

Importing `rag` costs nothing: the libraries come when the first name is used.
"""

import importlib
from typing import Any

_HOMES = {"KnowledgeBase": "rag.knowledge_base"}
__all__ = ["KnowledgeBase"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rag' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
