"""Which embedder a name gives, and what is refused before anything is loaded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from rag.embedding import load_embedder
from rag.embedding.sentence_transformer import check_is_safe
from rag.embedding.static import StaticEmbedder

ROOT = Path(__file__).resolve().parents[3]


def test_a_folder_of_ours_is_static(folder: Path) -> None:
    assert isinstance(load_embedder(folder), StaticEmbedder)
    assert load_embedder(str(folder)).id == load_embedder(folder).id


def test_the_embedded_default_finds_the_right_text_in_both_languages() -> None:
    embedder = load_embedder()
    passages = [
        "The river flooded the town after heavy rain.",
        "Parliament passed a law on income tax.",
        "做红烧肉要先把肉切成块。",
    ]
    questions = ["When did the river flood?", "income tax law", "红烧肉怎么做？"]
    scores = embedder.encode_queries(questions) @ embedder.encode_passages(passages).T
    np.testing.assert_array_equal(scores.argmax(axis=1), [0, 1, 2])
    assert embedder.encode_passages(passages).shape == (3, embedder.dim)


def test_the_embedded_default_is_small_and_loads_neither_torch_nor_transformers() -> None:
    program = (
        "import sys; from rag.embedding import load_embedder; load_embedder().encode_queries(['猫', 'cat']);"
        "print([name for name in ('torch', 'sentence_transformers', 'transformers', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.stdout.strip() == "[]", result.stderr
    assert sum(path.stat().st_size for path in (ROOT / "models" / "embedder").iterdir()) <= 16_000_000


@pytest.mark.parametrize("name", ["no/such/folder", "../somewhere", "/nowhere", "one", "a/b/c", "", "a b/c"])
def test_what_is_neither_folder_nor_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="is no folder"):
        load_embedder(name or "missing")


def test_a_hub_name_that_is_not_here_is_not_fetched() -> None:
    with pytest.raises(ModelError, match="not on this machine"):
        load_embedder("astrai-tests/no-such-embedder")


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="no safetensors"):
        load_embedder(tmp_path)


def test_pickles_beside_safetensors_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    check_is_safe(tmp_path)
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="is a pickle"):
        load_embedder(tmp_path)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "os.system", "path": ""}], "not sentence-transformers' own"),
        ([{"type": "sentence_transformers.models.Dense", "path": "../other"}], "outside of the model"),
        ([{"type": "sentence_transformers.models.Dense", "path": "/etc"}], "outside of the model"),
        ({"type": "x"}, "no list of modules"),
        ([{"path": ""}], "no list of modules"),
        (7, "no list of modules"),
    ],
)
def test_modules_that_are_foreign_or_elsewhere_are_refused(tmp_path: Path, modules: object, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_embedder(tmp_path)
