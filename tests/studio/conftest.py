"""The small tokenizer and data sets of core's tests."""

from tests.core.conftest import chat_data, no_gpu, pair_data, run_options, text_data, tokenizer

__all__ = ["chat_data", "no_gpu", "pair_data", "run_options", "text_data", "tokenizer"]
