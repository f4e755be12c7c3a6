"""The choice of the library's embedder: changed in the background, kept over a restart, undone by a cancel."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.library import Library
from app.library_embedder import OWN, OWN_NAME, ServedEmbedder, embedder_name, to_choice
from core.errors import ModelError
from rag.embedding import Embedder
from tests.rag.conftest import HashEmbedder

OTHER, BROKEN = "someone/other", "someone/broken"


class StuckEmbedder(HashEmbedder):
    """Waits at its first passage."""

    def __init__(self) -> None:
        super().__init__("stuck")
        self.reached, self.goes_on = threading.Event(), threading.Event()

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.reached.set()
        assert self.goes_on.wait(60)
        return super().encode_passages(texts)


STUCK = StuckEmbedder()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    def load(choice: str | None) -> Embedder:
        if choice == BROKEN:
            raise ModelError("someone/broken has no safetensors file.", "Choose another.")
        return STUCK if choice == "someone/stuck" else HashEmbedder(choice or "own")

    monkeypatch.setattr("rag.embedding.load_embedder", load)
    (tmp_path / "files").mkdir()
    for number in range(3):
        path = tmp_path / "files" / f"{number}.md"
        path.write_text(f"# Lease {number}\n\nThe lease ends in {number} years.\n", encoding="utf-8")
    library = Library(tmp_path / "library")
    library.add([tmp_path / "files"], "home")
    assert library.wait(timeout_s=60)
    return library


def choose(library: Library, text: str) -> None:
    library.choose_embedder(text)
    assert library.wait(timeout_s=60)


def test_another_embedder_answers_after_the_change_and_after_a_restart(library: Library) -> None:
    assert library.embedder.id == "own"
    choose(library, f" '{OTHER}' ")
    assert library.activity.embedder == OTHER
    assert library.embedder.id == OTHER
    library.close()
    again = Library(library.folder)
    assert again.open().search("When does the lease end?")[0].legs["dense"].rank == 1
    assert again.embedder.id == OTHER
    choose(again, OWN)
    assert again.embedder.id == "own"


def test_one_that_cannot_be_loaded_is_a_sentence_and_the_one_before_stays(library: Library) -> None:
    choose(library, BROKEN)
    assert str(library.activity.error) == "someone/broken has no safetensors file. Choose another."
    assert (library.embedder.id, library.embedders.current, library.embedders.wanted) == ("own", OWN, None)


def test_a_change_that_was_cut_off_goes_on_at_the_next_start(library: Library) -> None:
    library.embedders.want(OTHER)
    library.close()
    again = Library(library.folder)
    again.open()
    assert again.wait(timeout_s=60)
    assert (again.embedder.id, again.embedders.current, again.embedders.wanted) == (OTHER, OTHER, None)


def test_a_folder_that_holds_another_model_now_gets_its_vectors(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.close()
    monkeypatch.setattr("rag.embedding.load_embedder", lambda choice: HashEmbedder("own, updated"))
    again = Library(library.folder)
    again.open()
    assert again.wait(timeout_s=60)
    assert again.open().has_vectors
    assert again.open().search("When does the lease end?")[0].legs["dense"].rank == 1


def test_a_cancelled_change_leaves_the_one_before(library: Library) -> None:
    library.choose_embedder("someone/stuck")
    assert STUCK.reached.wait(60)
    library.cancel()
    STUCK.goes_on.set()
    assert library.wait(timeout_s=60)
    # All passages fit one batch, so that the cancel came too late or in time: either is a whole state.
    assert library.embedders.wanted is None
    assert library.open().has_vectors


def test_programs_get_the_vectors_of_the_moment(library: Library) -> None:
    served: ServedEmbedder = library.served_embedder()
    assert (served.name, served.dimensions) == (OWN_NAME, 64)
    choose(library, OTHER)
    assert served.name == OTHER
    np.testing.assert_allclose(served.embed(["lease"]), HashEmbedder(OTHER).encode_passages(["lease"]))
    assert served.count_tokens(["two words", "one"]) == 3


def test_a_choice_is_a_whole_path_or_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    assert to_choice(f' "{tmp_path / "minilm"}"') == str(tmp_path / "minilm")
    assert to_choice("minilm") == str(tmp_path / "minilm")
    assert to_choice("owner/name") == "owner/name"
    assert to_choice("  ") == OWN
    assert [embedder_name(choice) for choice in (OWN, "owner/name", str(tmp_path))] == [
        OWN_NAME,
        "owner/name",
        tmp_path.name,
    ]
