"""The embedded bilingual embedder: what it is trained on and how."""
