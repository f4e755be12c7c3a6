"""Office files, written here by the libraries that people use."""

import datetime as dt
import io
import zipfile
from collections.abc import Callable

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from core.errors import DocumentError
from rag.documents import ParsedDocument
from rag.parsing import Limits
from rag.parsing.kinds import Source
from rag.parsing.reader import read_document
from tests.rag.parsing.conftest import Read

NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    save(content)
    return content.getvalue()


def headings_of(document: ParsedDocument) -> list[tuple[str, int]]:
    return [(document.text[one.start : one.end], one.level) for one in document.headings]


def zip_of(members: dict[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_docx_has_headings_lists_and_tables(read: Read) -> None:
    document = docx.Document()
    document.core_properties.title = "The handbook"
    document.add_heading("第一章", 1)
    document.add_paragraph("正文在这里。")
    document.add_heading("Part", 2)
    document.add_paragraph("An item", style="List Bullet")
    table = document.add_table(2, 2)
    for i, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"cell {i}"
    parsed = read("a.docx", saved(document.save))
    assert parsed.text == "第一章\n\n正文在这里。\n\nPart\n\nAn item\n\ncell 0 | cell 1\ncell 2 | cell 3"
    assert headings_of(parsed) == [("第一章", 1), ("Part", 2)]
    assert (parsed.kind, parsed.title) == ("docx", "The handbook")


def test_docx_is_read_where_python_docx_looks_away(read: Read) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("Kept ")
    paragraph._p.append(parse_xml(f"<w:ins {NAMESPACE}><w:r><w:t>inserted</w:t></w:r></w:ins>"))
    paragraph._p.append(parse_xml(f"<w:del {NAMESPACE}><w:r><w:t>deleted</w:t></w:r></w:del>"))
    control = f"<w:sdt {NAMESPACE}><w:sdtContent><w:p><w:r><w:t>In a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    document.element.body.insert(1, parse_xml(control))
    assert read("a.docx", saved(document.save)).text == "Kept inserted\n\nIn a control"


def test_pptx_has_a_page_for_each_slide(read: Read) -> None:
    presentation = pptx.Presentation()
    for number in (1, 2):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = "First point\nSecond point"
    table = slide.shapes.add_table(1, 2, Inches(1), Inches(5), Inches(4), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    slide.notes_slide.notes_text_frame.text = "Say this."
    parsed = read("a.pptx", saved(presentation.save))
    second = parsed.pages[1]
    assert parsed.text[second.start : second.end] == "Slide 2\n\nFirst point\nSecond point\n\nleft | right\n\nSay this."
    assert [(page.number, page.width, page.height) for page in parsed.pages] == [(1, 720, 540), (2, 720, 540)]
    assert headings_of(parsed) == [("Slide 1", 1), ("Slide 2", 1)]


@pytest.mark.parametrize("kind", [XL_CHART_TYPE.COLUMN_CLUSTERED, XL_CHART_TYPE.LINE, XL_CHART_TYPE.PIE])
def test_a_chart_is_a_table(read: Read, kind: XL_CHART_TYPE) -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["North", "South"]
    data.add_series("Sales", (1.5, 2))
    slide.shapes.add_chart(kind, 0, 0, Inches(4), Inches(3), data)
    assert "North | South\nSales | 1.5 | 2" in read("a.pptx", saved(presentation.save)).text


def test_xlsx_rows_stand_under_the_name_of_their_sheet(read: Read) -> None:
    book = openpyxl.Workbook()
    book.active.title = "收入"
    book.active.append(["Name", "Amount", "Day"])
    book.active.append(["张三", 3.0, dt.date(2024, 5, 1)])
    book.active["A5"] = "after a gap"
    book.active["B5"] = "two\nlines"
    book.create_sheet("Empty")
    parsed = read("a.xlsx", saved(book.save))
    assert parsed.text == "收入\n\nName | Amount | Day\n张三 | 3 | 2024-05-01\nafter a gap | two lines\n\nEmpty"
    assert headings_of(parsed) == [("收入", 1), ("Empty", 1)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_is_divided_by_the_sign_it_uses(read: Read, delimiter: str) -> None:
    rows = ["name,city", '"Smith, J.",Paris', "李雷,上海"]
    content = "\r\n".join(delimiter.join(row.rsplit(",", 1)) for row in rows)
    assert read("a.csv", content.encode("gb18030")).text == "name | city\nSmith, J. | Paris\n李雷 | 上海"


OPEN_TEXT = """<?xml version="1.0"?><office:document-content
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"><office:body><office:text>
<text:h text:outline-level="2">A <text:span>title</text:span></text:h>
<text:p>Words<text:s/>here<text:line-break/>and there</text:p>
<table:table><table:table-row>
<table:table-cell table:number-columns-repeated="2"><text:p>twice</text:p></table:table-cell>
<table:table-cell table:number-columns-repeated="99999"/></table:table-row></table:table>
</office:text></office:body></office:document-content>"""


def test_open_document_text_is_read(read: Read) -> None:
    content = zip_of({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": OPEN_TEXT})
    parsed = read("a.odt", content)
    assert parsed.text == "A title\n\nWords here\nand there\n\ntwice | twice"
    assert headings_of(parsed) == [("A title", 2)]


def test_an_office_file_that_declares_entities_is_refused(read: Read) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'
    content = zip_of({"[Content_Types].xml": "<Types/>", "word/document.xml": bomb})
    with pytest.raises(DocumentError, match="it declares entities"):
        read("a.docx", content)


def test_a_zip_that_unpacks_without_end_is_refused() -> None:
    content = zip_of({"[Content_Types].xml": "", **{f"word/{i}": bytes(2_000_000) for i in range(4)}})
    with pytest.raises(DocumentError, match="it unpacks to 8 MB; at most 5 MB are read"):
        read_document(Source("a.docx", content, Limits(expanded_bytes=5_000_000)))
    with pytest.raises(DocumentError, match="it has 5 parts; at most 4 are read"):
        read_document(Source("a.docx", content, Limits(num_members=4)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.docx", b"PK\x03\x04 broken", "it is a damaged file"),
        ("a.zip", zip_of({"a.txt": "words"}), "it is an archive.*Unpack it"),
        ("a.gz", b"\x1f\x8b\x08", "it is an archive"),
        ("a.exe", b"MZ\x90\x00\x03", "it is a program"),
        ("a.mp4", b"\x00\x00\x00\x20ftypisom", "it is sound or film"),
        ("a.doc", b"\xd0\xcf\x11\xe0 more", r"it is named \.doc, but holds something else"),
        ("a.txt", b" \n\t ", "it is empty"),
    ],
)
def test_what_is_not_read_is_refused_with_what_to_do(read: Read, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        read(name, content)
