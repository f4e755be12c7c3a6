"""Pages, books, Markdown, JSON, subtitles, mail and RTF."""

import json
import time
from email.message import EmailMessage

import pytest

from core.errors import DocumentError
from rag.documents import ParsedDocument
from tests.rag.parsing.conftest import Read
from tests.rag.parsing.test_office import headings_of, zip_of

PAGE = """<!DOCTYPE html><html><head><title>A page</title><style>p {}</style><script>alert("no")</script></head><body>
<nav>Menu</nav><h1>Title</h1><p>Some <b>bold</b> words<br>and more.<div style="display: none">hidden</div>
<ul><li>one<li>two</ul><table><tr><th>a<th>b</tr><tr><td>1<td>2</tr></table><!-- no -->
<p>&lt;script&gt; &amp; 汉字</body>"""


def test_a_page_gives_what_its_reader_sees(read: Read) -> None:
    parsed = read("a.html", PAGE.encode())
    assert parsed.text == ("Title\n\nSome bold words\nand more.\n\n• one\n\n• two\n\na | b\n1 | 2\n\n<script> & 汉字")
    assert headings_of(parsed) == [("Title", 1)]
    assert parsed.title == "A page"


def test_a_page_nested_without_end_is_read(read: Read) -> None:
    assert read("a.html", b"<div>" * 1000 + b"deep").text == "deep"
    assert read("a.html", b"<p>words</p>" + b"<div>" * 50_000 + b"deep").text.startswith("words")


def test_entities_of_a_page_or_file_are_not_expanded(read: Read) -> None:
    laughs = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    content = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]><a>words &a11;</a>'
    assert read("a.xml", content.encode()).text == "words &a11;"


def test_no_file_is_read_for_an_entity(read: Read) -> None:
    content = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>words &b;</a>'
    assert read("a.xml", content.encode()).text == "words &b;"


def test_xml_gives_titles_and_the_text_of_its_elements(read: Read) -> None:
    item = "<item><title>First</title><text>&lt;p&gt;A &lt;b&gt;long&lt;/b&gt; story&lt;/p&gt;</text></item>"
    content = f"<rss><title>News</title>{item}</rss>"
    parsed = read("a.xml", content.encode())
    assert headings_of(parsed) == [("News", 1), ("First", 2)]
    assert parsed.text == "News\n\nFirst\n\nA long story"


def test_a_book_is_read_by_its_spine(read: Read) -> None:
    chapters = {f"OPS/{i}.xhtml": f"<html><body><h1>Chapter {i}</h1><p>Words {i}.</p></body></html>" for i in (1, 2)}
    container = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    package = (
        '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>书名</dc:title></metadata><manifest>'
        '<item id="a" href="1.xhtml"/><item id="b" href="2.xhtml"/></manifest>'
        '<spine><itemref idref="b"/><itemref idref="a"/><itemref idref="gone"/></spine></package>'
    )
    members = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OPS/book.opf": package}
    parsed = read("a.epub", zip_of({**members, **chapters}))
    assert parsed.text == "Chapter 2\n\nWords 2.\n\nChapter 1\n\nWords 1."
    assert (parsed.kind, parsed.title) == ("epub", "书名")


def test_markdown_keeps_its_text_and_knows_its_titles(read: Read) -> None:
    text = "# One #\n\nwords\n\n```\n# no title\n```\n\nTwo\n---\n\n### 三 `code`\n"
    parsed = read("a.md", text.encode())
    assert parsed.text == text
    assert headings_of(parsed) == [("One", 1), ("Two", 2), ("三 `code`", 3)]


def test_rst_levels_follow_the_order_of_their_marks(read: Read) -> None:
    text = "=====\nTitle\n=====\n\nPart\n====\n\nwords\n\nSub\n---\n\nPart 2\n======\n\n== ==\na  b\n== ==\n"
    assert headings_of(read("a.rst", text.encode())) == [("Title", 1), ("Part", 2), ("Sub", 3), ("Part 2", 2)]


def test_org_levels_are_stars(read: Read) -> None:
    assert headings_of(read("a.org", b"* One\ntext\n** Two\n*bold* text")) == [("One", 1), ("Two", 2)]


def test_code_and_unknown_suffixes_are_text(read: Read) -> None:
    assert read("a.py", b"def f():\n\treturn 1\n").text == "def f():\n\treturn 1\n"
    assert read("LICENSE", b"Some words.\x00\x00".replace(b"\0", b"")).kind == "txt"


def test_json_is_a_line_for_each_value(read: Read) -> None:
    value = [{"name": "李雷", "tags": ["a", "b"], "at": {"x": 1.5, "ok": True}}, {"name": "second"}]
    expected = "name: 李雷\ntags: a, b\nat.x: 1.5\nat.ok: true\n\nname: second"
    assert read("a.json", json.dumps(value).encode()).text == expected
    assert read("a.jsonl", "\n".join(map(json.dumps, value)).encode()).text == expected


def test_broken_json_is_read_as_text(read: Read) -> None:
    parsed = read("a.json", b'{"a": 1, oops')
    assert parsed.text == '{"a": 1, oops'
    assert str(parsed.notes[0]).startswith("not valid JSON")


def test_a_notebook_is_its_cells(read: Read) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# A\n", "b"]},
        {"cell_type": "code", "source": "x = 1", "outputs": []},
    ]
    assert read("a.ipynb", json.dumps({"cells": cells}).encode()).text == "# A\nb\n\nx = 1"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.srt",
            (
                "1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>第一句</i>\r\n\r\n"
                "2\r\n00:00:02,000 --> 00:00:03,000\r\nsecond\r\nline\r\n"
            ),
        ),
        (
            "a.vtt",
            (
                "WEBVTT\n\nNOTE no\n\n00:01.000 --> 00:02.000 align:start\n第一句\n\n"
                "x\n00:02.000 --> 00:03.000\nsecond\nline\n"
            ),
        ),
    ],
)
def test_subtitles_are_what_is_said(read: Read, name: str, content: str) -> None:
    assert read(name, content.encode()).text == "第一句\nsecond line"


def mail(body: str, subtype: str) -> ParsedDocument | bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "Ann <ann@example.com>", "会议纪要"
    message.set_content(body, subtype=subtype, charset="gb18030")
    message.add_attachment(b"x", maintype="application", subtype="zip", filename="a.zip")
    return message.as_bytes()


@pytest.mark.parametrize(("body", "subtype"), [("明天开会。", "plain"), ("<p>明天开会。<script>no</script>", "html")])
def test_mail_has_its_subject_sender_and_body(read: Read, body: str, subtype: str) -> None:
    parsed = read("a.eml", mail(body, subtype))  # type: ignore[arg-type]
    assert parsed.text == "会议纪要\n\nFrom: Ann <ann@example.com>\n\n明天开会。"
    assert list(map(str, parsed.notes)) == ["attachments are not read: a.zip"]


def test_rtf_is_read_with_its_encoding(read: Read) -> None:
    words = "".join(f"\\'{byte:02x}" for byte in "汉字".encode("gb18030"))
    content = rf"{{\rtf1\ansi\ansicpg936{{\fonttbl\f0\fcharset134 SimSun;}}\f0 {words}\par Caf\'e9? \u8364?\par}}"
    assert read("a.rtf", content.encode()).text.startswith("汉字\n\nCaf")


@pytest.mark.timeout(20)
def test_the_time_of_an_rtf_does_not_grow_with_the_square_of_its_fonts(read: Read) -> None:
    fonts = r"{\fonttbl" + r"{\f0 a;}" * 40_000 + "}"
    assert read("a.rtf", rf"{{\rtf1\ansi {fonts} otter}}".encode()).text.strip() == "otter"


def test_json_nested_without_end_is_no_crash(read: Read) -> None:
    with pytest.raises((RecursionError, DocumentError)):
        read("a.json", b"[" * 100_000 + b"]" * 100_000)


def test_a_tag_with_a_hundred_thousand_attributes_costs_a_moment(read: Read) -> None:
    attributes = " ".join(f"a{i}='b'" for i in range(100_000))
    begin = time.process_time()
    assert (
        read("a.html", f"<p {attributes}>The otter</p><p class='x'>swims.</p>".encode()).text == "The otter\n\nswims."
    )
    assert time.process_time() - begin < 5
