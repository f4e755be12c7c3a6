"""A tiny cross-encoder of random weights puts the results into its own order."""

from pathlib import Path

import pytest

from core.errors import ModelError
from rag import KnowledgeBase
from rag.reranking import CrossEncoderReranker
from tests.rag.embedding.test_sentence_transformer import VOCAB

TEXTS = {"cat.txt": "The cat sleeps by the river.", "dog.txt": "The dog swims in the river.", "river.txt": "A river."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("cross")
    (folder / "vocab.txt").write_text("\n".join(VOCAB), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(VOCAB), num_labels=1, initializer_range=0.5, **shape)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_results_stand_in_the_order_of_the_reranker(folder: Path, tmp_path: Path) -> None:
    reranker = CrossEncoderReranker(folder)
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with KnowledgeBase(tmp_path / "library", reranker=reranker) as kb:
        kb.add([tmp_path / name for name in TEXTS])
        hits = kb.search("cat river", k=3)
    scores = reranker.score("cat river", [hit.text for hit in hits])
    assert len(hits) == len(TEXTS)
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]
    assert reranker.score("cat", []) == []


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="has no safetensors file"):
        CrossEncoderReranker(tmp_path)
