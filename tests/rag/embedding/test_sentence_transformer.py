"""A tiny sentence-transformers model of random weights, saved and read back."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from rag.embedding import load_embedder
from rag.embedding.sentence_transformer import SentenceTransformerEmbedder

pytestmark = pytest.mark.slow
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "river", "query", ":", "passage"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    bert = folder / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(VOCAB), encoding="utf-8")
    BertTokenizerFast(str(bert / "vocab.txt")).save_pretrained(bert)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(VOCAB), **shape)).save_pretrained(bert)
    transformer = Transformer(str(bert))
    model = SentenceTransformer(
        modules=[transformer, Pooling(transformer.get_embedding_dimension())],
        prompts={"query": "query: ", "document": "passage: "},
        device="cpu",
    )
    model.save(str(folder / "model"))
    return folder / "model"


def test_a_saved_model_is_an_embedder_with_its_own_prompts(folder: Path) -> None:
    embedder = load_embedder(folder)
    assert isinstance(embedder, SentenceTransformerEmbedder)
    passages, queries = embedder.encode_passages(["cat", "dog"]), embedder.encode_queries(["cat"])
    np.testing.assert_allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-5)
    assert passages.shape == (2, embedder.dim) == (2, 16)
    assert not np.allclose(passages[0], queries[0])
    assert embedder.count_tokens("cat dog") == 2
    assert embedder.encode_passages([]).shape == (0, 16)
    assert embedder.id == load_embedder(folder).id


def test_broken_weights_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(folder)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(b"broken" if path.suffix == ".safetensors" else path.read_bytes())
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_embedder(tmp_path)
