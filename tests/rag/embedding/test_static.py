"""The static embedder: sums by hand, the same in any batch, and folders that lie are refused."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from core.files import MAX_READ_BYTES, write_json
from rag.embedding.static import CONFIG_FILE, FORMAT, TOKENIZER_FILE, WEIGHTS_FILE, StaticEmbedder
from tests.rag.embedding.conftest import DIM, WORDS, write_embedder


def test_a_vector_is_the_sum_of_its_tokens_at_unit_length(folder: Path, rows: np.ndarray, scales: np.ndarray) -> None:
    cat, river = (rows[WORDS.index(word)] * np.float32(scales[WORDS.index(word)]) for word in ("cat", "river"))
    expected = np.log2(3) * cat + river  # log₂(1 + 2) for the one that stands there twice
    expected = expected / np.linalg.norm(expected)
    found = StaticEmbedder(folder).encode_passages(["cat river cat"])
    np.testing.assert_allclose(found, expected[None], atol=1e-6)
    assert found.dtype == np.float32


def test_one_text_and_many_give_equal_vectors(folder: Path) -> None:
    embedder = StaticEmbedder(folder)
    texts = ["cat", "", "dog river " * 3000, "?!", "图书馆 cat", "cat"] * 20
    together = embedder.encode_passages(texts)
    alone = np.concatenate([embedder.encode_passages([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)
    assert together.shape == (len(texts), DIM)


@pytest.mark.parametrize("text", ["", " \n\t", "zebra", "🦓", "\x00", "\ud800"])
def test_a_text_without_a_known_word_is_the_zero_vector(folder: Path, text: str) -> None:
    assert not StaticEmbedder(folder).encode_queries([text]).any()


def test_no_texts_give_no_rows(folder: Path) -> None:
    assert StaticEmbedder(folder).encode_passages([]).shape == (0, DIM)


@pytest.mark.parametrize(("text", "other"), [("CAT", "cat"), ("ｃａｔ", "cat"), ("圖書館", "图书馆")])
def test_case_width_and_script_make_no_difference(folder: Path, text: str, other: str) -> None:
    embedder = StaticEmbedder(folder)
    np.testing.assert_array_equal(embedder.encode_queries([text]), embedder.encode_passages([other]))


def test_tokens_are_counted(folder: Path) -> None:
    embedder = StaticEmbedder(folder)
    assert [embedder.count_tokens(text) for text in ("", "cat dog", "圖書館")] == [0, 2, 3]


def test_the_id_follows_the_weights(folder: Path, tmp_path: Path, rows: np.ndarray, scales: np.ndarray) -> None:
    same = write_embedder(tmp_path / "same", rows, scales)
    rows[1, 1] ^= 1
    other = write_embedder(tmp_path / "other", rows, scales)
    ids = [StaticEmbedder(path).id for path in (folder, same, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("name", [CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        StaticEmbedder(folder)


@pytest.mark.parametrize("name", [CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE])
def test_a_file_of_rubbish_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\x00{" * 100)
    with pytest.raises(ModelError, match=name):
        StaticEmbedder(folder)


@pytest.mark.parametrize("name", [CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE])
def test_an_oversize_file_is_refused_unread(folder: Path, name: str) -> None:
    os.truncate(folder / name, MAX_READ_BYTES + 1)
    with pytest.raises(ModelError, match="at most"):
        StaticEmbedder(folder)


Spoil = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows, scales: (rows[:-1], scales[:-1]), r"9 rows for 10 tokens"),
        (lambda rows, scales: (np.concatenate([rows, rows]), np.concatenate([scales, scales])), r"20 rows for 10"),
        (lambda rows, scales: (rows[:, :4], scales), r"4 columns, not 8"),
        (lambda rows, scales: (rows[:, :0], scales), r"10 rows"),
        (lambda rows, scales: (rows, scales[:-1]), r"scales float16 \(9,\)"),
        (lambda rows, scales: (rows[0], scales), r"rows int8 \(8,\)"),
        (lambda rows, scales: (rows.astype(np.float32), scales), r"rows float32"),
        (lambda rows, scales: (rows, scales.astype(np.float32)), r"scales float32"),
        (lambda rows, scales: (rows, np.where(scales > 0.015, np.nan, scales).astype(np.float16)), r"not finite"),
        (lambda rows, scales: (rows, np.full_like(scales, np.inf)), r"10 scales not finite"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    tmp_path: Path, rows: np.ndarray, scales: np.ndarray, spoil: Spoil, message: str
) -> None:
    folder = write_embedder(tmp_path / "spoilt", *spoil(rows, scales))
    with pytest.raises(ModelError, match=message):
        StaticEmbedder(folder)


def test_another_version_is_refused(folder: Path) -> None:
    write_json(folder / CONFIG_FILE, {"format": FORMAT, "version": 2, "dim": DIM})
    with pytest.raises(ModelError, match="not astrai-static-embedder 1"):
        StaticEmbedder(folder)
