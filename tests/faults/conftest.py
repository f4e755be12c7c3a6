"""The small tokenizer and data set of the core's tests."""

from tests.core.conftest import text_data, tokenizer

__all__ = ["text_data", "tokenizer"]
