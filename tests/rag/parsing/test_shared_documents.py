"""Every real and every hostile file of the development data: read, or refused with a true sentence, in bounds."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from core.errors import DocumentError
from rag.documents import ParsedDocument
from rag.parsing import Limits, Parser
from rag.parsing.encodings import decode
from tests.conftest import SHARED_DATA

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(1200)]

logger = logging.getLogger(__name__)
DOCUMENTS, HOSTILE = SHARED_DATA / "rag" / "documents", SHARED_DATA / "rag" / "hostile"
REFUSED_DOCUMENTS = {
    "docling-legacy_sample.doc": "Word 97–2003 (.doc) file",
    "docling-legacy_sample.ppt": "PowerPoint 97–2003 (.ppt) file",
}
NEED_OCR = {
    "docling-ocr_test_rotated_180.pdf": "images without text (1 of 1 pages)",
    "mid-MEDRPT-2024-PAT-3847_medical_report_scan.pdf": "images without text (3 of 3 pages)",
    "mineru-small_ocr.pdf": "images without text (8 of 8 pages)",
    "unst-chi_sim_image.jpeg": "a picture",
    "unst-double-column-A.jpg": "a picture",
}
PROTECTED = (
    *("pypdf-r2-user", "pypdf-r3-user", "pypdf-r4-aes", "pypdf-r6-both", "pypdf-crazyones", "pypdfsf-libreoffice"),
    *("unst-password", "tika-testUnicodePassword", "tika-testWORD_protected", "tika-testEXCEL_protected"),
    *("tika-testPPT_protected", "tika-testODTEncrypted"),
)
ENCODINGS = {
    "GB2312": "gb18030",
    "Big5": "big5hkscs",
    "EUC-JP": "euc_jp",
    "EUC-KR": "cp949",
    "SHIFT_JIS": "cp932",
    "mskanji": "cp932",
    "UTF-16LE": "utf-16-le",
    "UTF-16BE": "utf-16-be",
    "utf-16-be": "utf-16-be",
    "UTF-16-bom": "utf-16",
    "datasheet-utf-16": "utf-16",
    "UTF-32": "utf-32",
    "utf-8-sig": "utf-8-sig",
    "cp1252": "cp1252",
    "umlauts": "latin-1",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    path: Path
    seconds: float
    document: ParsedDocument | None
    sentence: str


def outcomes(folder: Path, parser: Parser) -> Iterator[Outcome]:
    """Read all files of a folder; `-o log_cli=1 --log-level=INFO` shows the table."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        started = time.monotonic()
        try:
            document, sentence = parser.parse(path), ""
        except DocumentError as exc:
            document, sentence = None, str(exc)
        outcome = Outcome(path, time.monotonic() - started, document, sentence)
        notes = " · ".join(map(str, document.notes)) if document else ""
        found = f"{document.kind}, {len(document.text):,} characters {notes}" if document else sentence
        logger.info("%7.2f s  %-60.60s  %s", outcome.seconds, path.relative_to(folder), found)
        yield outcome


@pytest.fixture(scope="module")
def documents() -> list[Outcome]:
    with Parser() as parser:
        return list(outcomes(DOCUMENTS, parser))


@pytest.fixture(scope="module")
def hostile() -> list[Outcome]:
    before = psutil.Process().memory_info().rss
    with Parser() as parser:
        found = list(outcomes(HOSTILE, parser))
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    return found


def test_every_document_is_read_or_refused_with_a_true_sentence(documents: list[Outcome]) -> None:
    expected = REFUSED_DOCUMENTS | ({} if shutil.which("tesseract") else NEED_OCR)
    refused = {outcome.path.name: outcome.sentence for outcome in documents if outcome.document is None}
    assert refused.keys() == expected.keys()
    assert [name for name, words in expected.items() if words not in refused[name]] == []


def test_offsets_of_every_document_are_within_its_text(documents: list[Outcome]) -> None:
    for document in (outcome.document for outcome in documents if outcome.document):
        for part in (*document.pages, *document.lines, *document.headings):
            assert 0 <= part.start <= part.end <= len(document.text)
        assert [line.start for line in document.lines] == sorted(line.start for line in document.lines)
        assert all(document.text[heading.start : heading.end].strip() for heading in document.headings)
        sizes = {page.number: page for page in document.pages}
        for line in document.lines:
            assert 0 <= line.box.left < line.box.right <= sizes[line.page].width + 0.01
            assert 0 <= line.box.top < line.box.bottom <= sizes[line.page].height + 0.01


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hit-chatgpt_book.pdf", "2022 年 11 月 30 日，OpenAI 推出全新的对话式通用人工智能工具"),
        ("moss-MOSS_agreement.pdf", "现申请获取一份由复旦大学自然语言处理实验室训练的"),
        (
            "pdfjs-tracemonkey.pdf",
            "are more difficult to compile than statically typed ones. Since no concrete type information",
        ),
        ("llmu-1-introduction.docx", "吴恩达"),
        ("unst-handbook-872p.docx", "Social Security"),
        ("llmu-ai-video-zh.pptx", "随着2023年ChatGPT的爆发"),
        ("chat-langchain-ChatGLM_open.xlsx", "怎么让模型严格根据检索的数据进行回答"),
        ("shell-shell-zh.epub", "Shell"),
        ("tika-testMSG_chinese.msg", "恭喜 HQ 保全課 陳奎良 高票當選"),
        ("tika-testRTFJapanese.rtf", "古書店で処刑記録見つかる"),
        ("docling-elife-56337.xml", "Genome-wide binding patterns of mouse KRAB-ZFPs"),
    ],
)
def test_known_words_are_found(documents: list[Outcome], name: str, words: str) -> None:
    (document,) = [outcome.document for outcome in documents if outcome.path.name == name]
    assert document is not None
    assert words in document.text


@pytest.mark.parametrize("path", sorted((DOCUMENTS / "encodings").glob("*")), ids=lambda path: path.name)
def test_every_encoding_is_read_right(path: Path) -> None:
    (encoding,) = [encoding for mark, encoding in ENCODINGS.items() if mark in path.name]
    text, _ = decode(path.read_bytes())
    assert text == path.read_bytes().decode(encoding, "replace")


def test_every_hostile_file_ends_soon(hostile: list[Outcome]) -> None:
    limits = Limits()
    late = [
        outcome.path.name
        for outcome in hostile
        if outcome.seconds > limits.cpu_s(outcome.path.stat().st_size) * limits.wall_factor + 5
    ]
    assert late == []


def test_protected_files_say_so(hostile: list[Outcome]) -> None:
    protected = {outcome.path.name for outcome in hostile if "protected with a password" in outcome.sentence}
    assert [name for name in PROTECTED if not any(found.startswith(name) for found in protected)] == []


def test_a_refusal_is_one_line_that_names_the_file_and_a_remedy(hostile: list[Outcome]) -> None:
    for outcome in hostile:
        if outcome.document is None:
            assert outcome.sentence.startswith(outcome.path.name)
            assert "\n" not in outcome.sentence
            assert "a fault of this program" not in outcome.sentence


@pytest.mark.skipif(os.name != "posix", reason="the child's peak is read from Linux")
def test_the_hostile_files_need_little_memory(hostile: list[Outcome]) -> None:
    with Parser(Limits(memory_bytes=256 * 2**20)) as parser:
        again = list(outcomes(HOSTILE, parser))
    assert [outcome.path.name for outcome in again if "MB of memory" in outcome.sentence] == []
    assert len(again) == len(hostile)
