"""Byte-level tokenizers that cut texts as the families do, and a SentencePiece one with a space before a text."""

import json
from pathlib import Path
from typing import Any

import tokenizers

from core.data.pre_tokenizers import PRE_TOKENIZERS, as_json
from core.data.tokenizer import Tokenizer
from tests.core.conftest import sentences

KINDS = ("llama-bpe", "qwen2", "deepseek-r1-qwen", "smollm", "gpt-2", "tekken", "default")
TEXTS = [
    "The quick brown fox, isn't it? I'LL say it's 12345 and 007!",
    "今天天气很好，我们一起去公园散步。价格是３４５元",
    "  two  spaces\n\n\ttab\r\n  and   more   ",
    "👨‍👩‍👧‍👦 emoji 🦊 naïve café ñandú İstanbul",
    "mixed 中文 English 3.14e-10 x=y+z; a_b $100 <tag> ~^|",
    "def f(x):\n    return x**2  # comment\n\n\n",
    "ﬁ ① Ⅷ ½ ٣٤ １２３ éa",
    "camelCase HTTPServer don't DON'T we're",
    "\u00a0nbsp\u3000ideographic\u2028line",
    "<|im_start|>user\nhi<|im_end|>",
    " ",
    "\n",
    "",
]
_WORDS = ["isn't it", "I'll say it's", "12345 007 1999", "  two  spaces\n\n", "\t\ttab\r\n", "café naïve", "x=y+z;"]


def byte_level(kind: str, folder: Path) -> Path:
    """Train and save one that cuts as `kind` does."""
    parts = as_json(PRE_TOKENIZERS[kind])
    model = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=PRE_TOKENIZERS[kind].ignores_merges))
    source = {**json.loads(model.to_str()), **parts, "decoder": {"type": "ByteLevel"}}
    source["decoder"] |= {"add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    model = tokenizers.Tokenizer.from_str(json.dumps(source))
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    model.train_from_iterator([*sentences(300, seed=0), *TEXTS[:9], *_WORDS * 20], trainer)
    model.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    model.add_tokens(["<tool_call>"])
    folder.mkdir(parents=True, exist_ok=True)
    model.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "bos_token": None, "pad_token": "<|endoftext|>", "add_bos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def with_space_prefix(tokenizer: Tokenizer, folder: Path) -> Path:
    """Ours, changed into Llama 2's way: a space before each text, taken away again on decoding."""
    source: dict[str, Any] = tokenizer.as_json()
    source["normalizer"] = {
        "type": "Sequence",
        "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, source["normalizer"]],
    }
    source["decoder"]["decoders"].append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(source))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
