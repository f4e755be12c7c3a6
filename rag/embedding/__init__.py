"""Texts to vectors: the embedded bilingual embedder, or any sentence-transformers model."""

from rag.embedding.load import load_embedder
from rag.embedding.protocol import Embedder

__all__ = ["Embedder", "load_embedder"]
