"""A small tokenizer and small data sets, made on the spot."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from core.data.chat_template import ChatTemplate
from core.data.formats import Preference
from core.data.mmap_file import MmapFileHandler
from core.data.tokenise import documents
from core.data.tokenizer import Tokenizer

ENGLISH = [
    *("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and"),
    *("then", "sleeps", "under", "an", "old", "tree", "by", "the", "river"),
]
CHINESE = "今天天气很好我们一起去公园散步看见许多红色的花和绿色的树小狗在草地上跑来跑去非常高兴"

sees_gpu = torch.cuda.is_available


def sentences(count: int, seed: int) -> list[str]:
    """Short texts in both languages."""
    draw = random.Random(seed)
    texts = []
    for number in range(count):
        words = " ".join(draw.choices(ENGLISH, k=draw.randint(4, 14)))
        signs = "".join(draw.choices(CHINESE, k=draw.randint(5, 20)))
        texts.append(f"{words.capitalize()}. {number}" if number % 2 else f"{signs}。")
    return texts


@pytest.fixture(autouse=True, scope="session")
def no_gpu() -> Iterator[None]:
    """What chooses its device by itself takes the CPU, so that a test is the same on every machine."""
    with patch.object(torch.cuda, "is_available", lambda: False):
        yield


@pytest.fixture(autouse=True)
def gpu_for_those_who_ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("gpu"):
        monkeypatch.setattr(torch.cuda, "is_available", sees_gpu)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(sentences(400, seed=0), vocab_size=420)


@pytest.fixture(scope="session")
def text_data(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-training set of 300 texts, 20 of them for validation."""
    folder = tmp_path_factory.mktemp("data") / "pt"
    write_texts(folder, tokenizer)
    return folder


def write_texts(folder: Path, tokenizer: Tokenizer) -> None:
    """A pre-training set of 300 texts, 20 of them for validation."""
    writer = MmapFileHandler.writer(
        folder, kind="pt", vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint, shard_tokens=2000
    )
    tokenizer.save(writer.temporary / "tokenizer")
    for number, text in enumerate(sentences(300, seed=1)):
        split = "validation" if number % 15 == 0 else "train"
        writer.add(split, [*tokenizer.encode(text), tokenizer.eos_id], num_bytes=len(text.encode()))
    writer.close(sources=[], report={})


@pytest.fixture(scope="session")
def chat_data(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning set of 60 conversations."""
    folder = tmp_path_factory.mktemp("data") / "sft"
    write_chats(folder, tokenizer)
    return folder


def write_chats(folder: Path, tokenizer: Tokenizer) -> None:
    """A fine-tuning set of 60 conversations."""
    writer = MmapFileHandler.writer(
        folder, kind="sft", vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
    )
    tokenizer.save(writer.temporary / "tokenizer")
    template = ChatTemplate(tokenizer)
    texts = sentences(120, seed=2)
    for question, reply in zip(texts[::2], texts[1::2], strict=True):
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        writer.add("train", *template.encode_with_mask(messages))
    writer.close(sources=[], report={})


@pytest.fixture
def run_options(text_data: Path, tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Options of a short run on the tiny shape."""

    def options(**changes: object) -> dict[str, object]:
        return {
            "data": str(text_data),
            "output": str(tmp_path / "run"),
            "preset": "tiny",
            "max_seq_len": 32,
            "micro_batch_size": 2,
            "global_batch_size": 4,
            "max_steps": 6,
            "precision": "fp32",
            "device": "cpu",
            "num_threads": 1,
            "log_interval": 1,
            "validation_interval": 0,
            **changes,
        }

    return options


@pytest.fixture(scope="session")
def pair_data(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preference set of 48 pairs, 8 of them for validation; the better answers are Chinese."""
    folder = tmp_path_factory.mktemp("data") / "preference"
    write_pairs(folder, tokenizer, pairs(48, seed=5))
    return folder


def pairs(count: int, seed: int) -> list[Preference]:
    """Questions with a Chinese answer, which is better, and an English one."""
    texts = sentences(3 * 2 * count, seed)
    chinese, english = texts[::2], texts[1::2]
    return [Preference([{"role": "user", "content": english[i]}], chinese[i], english[count + i]) for i in range(count)]


def write_pairs(folder: Path, tokenizer: Tokenizer, examples: list[Preference]) -> None:
    """A preference set of examples, every sixth for validation."""
    writer = MmapFileHandler.writer(
        folder, kind="preference", vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
    )
    tokenizer.save(writer.temporary / "tokenizer")
    template = ChatTemplate(tokenizer)
    for number, example in enumerate(examples):
        for document in documents(template, example):
            split = "validation" if number % 6 == 5 else "train"
            writer.add(split, document.ids, document.mask, num_bytes=document.num_bytes)
    writer.close(sources=[], report={})
