"""PDF: text, lines, boxes, headings, pages that are pictures, protected and broken files. Small files, made here."""

import io
from pathlib import Path

import pytest
from PIL import Image

from core.errors import DocumentError
from rag.documents import Box, ParsedDocument
from rag.parsing import Parser, passage_boxes
from tests.rag.parsing.conftest import Read
from tests.rag.parsing.pdf_maker import PdfPage, Text, make_pdf

BODY = [
    Text(72, 700, "The quick brown fox jumps over the lazy dog and runs along"),
    Text(72, 685, "the river until it comes to the bridge where nobody waits."),
]


def box_of(document: ParsedDocument, words: str) -> Box:
    start = document.text.index(words)
    ((_, box),) = passage_boxes(document.lines, start, start + len(words), document.text)
    return box


def test_lines_of_a_paragraph_are_joined_and_each_keeps_its_box(read: Read) -> None:
    document = read("a.pdf", make_pdf(PdfPage(BODY)))
    assert document.text == f"{BODY[0].words} {BODY[1].words}"
    assert [document.text[line.start : line.end] for line in document.lines] == [text.words for text in BODY]
    assert [line.page for line in document.lines] == [1, 1]
    for line, text in zip(document.lines, BODY, strict=True):
        assert line.box.left == pytest.approx(text.x, abs=2)
        assert line.box.top < 800 - text.y < line.box.bottom


def test_a_line_that_ends_early_ends_its_paragraph(read: Read) -> None:
    texts = [
        *BODY,
        Text(72, 670, "Short end."),
        Text(72, 655, "The next paragraph begins here and is as wide as the others."),
    ]
    paragraphs = read("a.pdf", make_pdf(PdfPage(texts))).text.split("\n\n")
    assert [paragraph.split()[0] for paragraph in paragraphs] == ["The", "The"]


def test_a_word_divided_at_the_end_of_a_line_is_whole_again(read: Read) -> None:
    texts = [
        Text(72, 700, "This line of an ordinary paragraph ends with a long and divi-"),
        Text(72, 685, "ded word, and this is the second line of that paragraph here."),
    ]
    assert "divided word" in read("a.pdf", make_pdf(PdfPage(texts))).text


def test_chinese_lines_are_joined_without_a_space(read: Read) -> None:
    texts = [
        Text(72, 700, "本报告从技术原理和应用场景等方面进行了详尽的介"),
        Text(72, 684, "绍及总结，并讨论未来的发展。"),
    ]
    document = read("a.pdf", make_pdf(PdfPage(texts)))
    assert document.text == "本报告从技术原理和应用场景等方面进行了详尽的介绍及总结，并讨论未来的发展。"
    box = box_of(document, "详尽的介")
    assert (box.left, box.right) == (pytest.approx(72 + 19 * 12, abs=5), pytest.approx(72 + 23 * 12, abs=5))


def test_two_columns_are_read_one_after_the_other(read: Read) -> None:
    left = [Text(50, 700 - 14 * i, f"Left column line number {i} of some") for i in range(4)]
    right = [Text(320, 700 - 14 * i, f"Right column line number {i} of more") for i in range(4)]
    text = read("a.pdf", make_pdf(PdfPage([*left, *right]))).text
    places = [text.index(one.words) for one in [*left, *right]]
    assert places == sorted(places)


def test_large_lines_are_headings(read: Read) -> None:
    texts = [Text(72, 750, "Great Title", 24), Text(72, 725, "Section one", 16), *BODY]
    document = read("a.pdf", make_pdf(PdfPage(texts)))
    assert [(document.text[one.start : one.end], one.level) for one in document.headings] == [
        ("Great Title", 1),
        ("Section one", 2),
    ]


@pytest.mark.parametrize("crop", [(0, 0, 600, 800), (50, 100, 550, 780)])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_boxes_are_where_the_text_is_displayed(
    parser: Parser, tmp_path: Path, rotate: int, crop: tuple[int, ...]
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(make_pdf(PdfPage([Text(100, 700, "Find this"), Text(300, 400, "and that")], rotate, crop)))
    document = parser.parse(path)
    boxes = [box_of(document, words) for words in ("Find", "that")]
    picture = Image.open(io.BytesIO(parser.render_page(path, 1, [], scale=1))).convert("L")
    assert picture.size == (
        pytest.approx(document.pages[0].width, abs=1),
        pytest.approx(document.pages[0].height, abs=1),
    )
    for box in boxes:
        inside = picture.crop((int(box.left), int(box.top), int(box.right) + 1, int(box.bottom) + 1))
        assert inside.getextrema()[0] < 128, f"no ink in {box}"


def test_a_box_is_drawn_where_it_is_told(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(make_pdf(PdfPage(BODY)))
    picture = Image.open(io.BytesIO(parser.render_page(path, 1, [Box(100, 200, 300, 260)], scale=2)))
    assert picture.size == (1200, 1600)
    assert picture.getpixel((400, 460)) != (255, 255, 255)
    assert picture.getpixel((700, 460)) == (255, 255, 255)


def test_a_page_that_is_not_there_is_no_picture(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(make_pdf(PdfPage(BODY)))
    with pytest.raises(DocumentError, match="it has 1 pages, and no page 2"):
        parser.render_page(path, 2, [])


def test_pages_that_are_pictures_are_counted(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    pages = [PdfPage(BODY), PdfPage(has_picture=True), PdfPage(), PdfPage(has_picture=True)]
    document = read("a.pdf", make_pdf(*pages))
    assert str(document.notes[0]) == "image only: 2 of 4 pages"
    assert [(page.number, page.end > page.start) for page in document.pages] == [
        (1, True),
        (2, False),
        (3, False),
        (4, False),
    ]


def test_a_scan_is_refused_with_what_to_install(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DocumentError, match=r"images without text \(2 of 2 pages\)\. Install tesseract"):
        read("a.pdf", make_pdf(PdfPage(has_picture=True), PdfPage(has_picture=True)))


def test_a_pdf_is_known_by_its_content(read: Read) -> None:
    assert read("letter.txt", make_pdf(PdfPage(BODY))).kind == "pdf"
    with pytest.raises(DocumentError, match=r"it is named \.pdf, but holds something else"):
        read("a.pdf", b"Only some words.")


@pytest.mark.parametrize(
    ("title", "expected"), [("A real title", "A real title"), ("Microsoft Word - a.doc", "report"), ("", "report")]
)
def test_the_title_is_the_files_own_unless_a_program_left_it(read: Read, title: str, expected: str) -> None:
    assert read("report.pdf", make_pdf(PdfPage(BODY), title=title)).title == expected


def test_every_truncation_gives_text_or_one_sentence(parser: Parser, tmp_path: Path) -> None:
    content, path = make_pdf(PdfPage(BODY), PdfPage(BODY)), tmp_path / "a.pdf"
    outcomes, messages = set(), []
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        try:
            outcomes.add(parser.parse(path).kind)
        except DocumentError as exc:
            messages.append(exc.message)
    assert all(message.startswith("a.pdf: it ") for message in messages)
    assert messages
    assert outcomes == {"pdf"}
