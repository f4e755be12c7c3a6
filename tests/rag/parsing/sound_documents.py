"""Small sound documents of every kind, and how to spoil them at random."""

import io
import json
import random
import zipfile
from collections.abc import Callable

import docx
import openpyxl
import pptx

from tests.rag.parsing.pdf_maker import PdfPage, Text, make_pdf

XML = '<?xml version="1.0"?>'


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    save(content)
    return content.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sound() -> dict[str, bytes]:
    """A small document of each kind."""
    word = docx.Document()
    word.add_heading("The otter", 1)
    word.add_paragraph("An otter swims.")
    word.add_table(2, 2).cell(0, 0).text = "cell"
    slides = pptx.Presentation()
    slides.slides.add_slide(slides.slide_layouts[1]).shapes.title.text = "The otter"
    book = openpyxl.Workbook()
    book.active.append(["animal", "weight"])
    book.active.append(["otter", 9])
    office = "urn:oasis:names:tc:opendocument:xmlns"
    odt = f"""{XML}<office:document-content xmlns:office="{office}:office:1.0" xmlns:text="{office}:text:1.0">
<office:body><office:text><text:h text:outline-level="1">The otter</text:h><text:p>An otter swims.</text:p>
</office:text></office:body></office:document-content>""".encode()
    container = f"""{XML}<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>""".encode()
    opf = f"""{XML}<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><manifest><item id="a" href="a.xhtml"
media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>""".encode()
    page = b"<html><body><h1>The otter</h1><p>An otter swims.</p></body></html>"
    mail = (
        b"From: a@b.c\r\nSubject: The otter\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    )
    part = b"--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>An otter swims.</p>\r\n"
    cells = [{"cell_type": "markdown", "source": ["# The otter"]}, {"cell_type": "code", "source": "swim()"}]
    return {
        "txt": "The otter.\n\nAn otter swims. 水獭会游泳。".encode(),
        "md": b"# The otter\n\n- An otter\n- swims\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        "html": page,
        "csv": b"animal,weight\notter,9\nbison,900\n",
        "json": b'{"animal": "otter", "weights": [9, 8.5, null, {"kg": 1e3}]}',
        "ipynb": json.dumps({"cells": cells, "nbformat": 4}).encode(),
        "xml": f"{XML}<animals><animal name='otter'>swims</animal></animals>".encode(),
        "srt": b"1\n00:00:01,000 --> 00:00:02,000\nAn otter swims.\n",
        "eml": mail + part + b"--x--\r\n",
        "rtf": rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 The otter\par An otter swims.\u27700?\par}",
        "pdf": make_pdf(PdfPage([Text(72, 700, "The otter", 20), Text(72, 660, "An otter swims.")]), title="Otter"),
        "docx": saved(word.save),
        "pptx": saved(slides.save),
        "xlsx": saved(book.save),
        "odt": zip_of({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": odt}),
        "epub": zip_of(
            {"mimetype": b"application/epub+zip", "META-INF/container.xml": container, "b.opf": opf, "a.xhtml": page}
        ),
    }


SOUND = sound()


def mutant(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """A document with a few places changed, within the members of one that is packed."""
    if content.startswith(b"PK") and draw.random() < 2 / 3:
        try:
            members = members_of(content)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
            return spoilt(content, others, draw)
        name = draw.choice([*members])
        return zip_of({**members, name: spoilt(members[name], others, draw)})
    return spoilt(content, others, draw)


def spoilt(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at, length = draw.randrange(len(changed) + 1), draw.choice((1, 2, 4, 32, 512))
        match draw.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 1:
                changed[at : at + length] = draw.randbytes(length)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * draw.choice((1, 2, 50))
            case 4:
                changed[at : at + 4] = draw.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"9999", b"-1")
                )
            case _:
                other = draw.choice(others)
                begin = draw.randrange(len(other) + 1)
                changed[at:at] = other[begin : begin + length]
    return bytes(changed)
