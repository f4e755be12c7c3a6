"""The library's settings on the page: what is measured can be applied with one click, and undone."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from app.downloads import Downloads
from app.embedder_downloads import EmbedderDownloads
from app.library import Library
from app.receipt import Receipt
from app.tabs.library_settings import LibrarySettings
from core.errors import DataError
from rag import KnowledgeBase, fusion
from tests.rag.conftest import MisleadingEmbedder, misleading_files


def begin(act: Callable[[], None], language: str) -> list[object]:
    act()
    return []


async def build(library: Library) -> LibrarySettings:  # without a running loop Blocks would leave some open
    with gr.Blocks(analytics_enabled=False):
        downloads = Downloads(library.folder.parent, Receipt(library.folder.parent))
        return LibrarySettings(library, EmbedderDownloads(library, downloads), gr.Radio(), begin)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LibrarySettings]:
    """Of a library in which the vectors weigh far too much."""
    monkeypatch.setattr(fusion, "LATIN", replace(fusion.LATIN, similarity=5.0))
    (tmp_path / "files").mkdir()
    for name, text in misleading_files():
        (tmp_path / "files" / name).write_text(text, encoding="utf-8")
    library = Library(tmp_path / "library", embedder=MisleadingEmbedder)
    library.add([tmp_path / "files"], "default")
    assert library.wait(timeout_s=60)
    yield asyncio.run(build(library))
    library.close()


def test_the_advised_weight_is_applied_with_one_click_and_undone_with_another(settings: LibrarySettings) -> None:
    figures, advised, button = settings.measure_search("", "en")
    assert figures.count(" ms</td>") == 3
    assert "Searching by words alone would be better" in figures
    assert (advised, button["visible"]) == (0.0, True)
    shown = settings.weigh(advised, "en")
    assert ("words alone decide" in shown[settings.weight_now], shown[settings.usual]["visible"]) == (True, True)
    figures, advised, button = settings.measure_search("", "zh")
    assert "当前设置适合这些文档" in figures
    assert (advised, button["visible"]) == (None, False)
    with KnowledgeBase(settings.library.folder, MisleadingEmbedder()) as another_program:
        assert another_program.meaning_weight == 0
    shown = settings.weigh_as_usual("en")
    assert (shown[settings.weight_now], shown[settings.usual]["visible"]) == ("", False)
    assert settings.library.open().meaning_weight == 1


def test_a_library_that_is_not_there_has_the_usual_settings(tmp_path: Path) -> None:
    settings = asyncio.run(build(Library(tmp_path / "library")))
    assert "too little text" in settings.measure_search("", "en")[0]
    assert dict(zip(settings.outputs, settings.show("en"), strict=True))[settings.weight_now] == ""


def test_a_setting_that_cannot_be_kept_says_why(settings: LibrarySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: KnowledgeBase, weight: float) -> None:
        raise DataError("The collection {name} has {count} documents.", "Move or remove them first.", name="a", count=2)

    monkeypatch.setattr(KnowledgeBase, "meaning_weight", property(lambda kb: 1.0, refuse))
    assert "资料集 a 中还有 2 个文档" in settings.weigh(2.0, "zh")[settings.weight_now]
