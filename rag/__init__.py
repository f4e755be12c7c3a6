"""The library: the user's own files, searched and cited."""

from rag.knowledge_base import KnowledgeBase

__all__ = ["KnowledgeBase"]
