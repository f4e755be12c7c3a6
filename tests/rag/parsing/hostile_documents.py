"""Documents made to break their reader, by what is wrong with them.

`python -m tests.rag.parsing.hostile_documents FOLDER` writes and reads them all, and prints a line of JSON for each.
"""

import json
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from core.errors import DocumentError
from rag.parsing import Parser
from tests.rag.parsing.sound_documents import SOUND, XML, members_of, zip_of

Made = Iterator[tuple[str, bytes]]
MB = 2**20
DEPTHS = (100, 3000, 100_000)
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


MAIN_PARTS = {
    "docx": "word/document.xml",
    "pptx": "ppt/slides/slide1.xml",
    "xlsx": "xl/worksheets/sheet1.xml",
    "odt": "content.xml",
    "epub": "a.xhtml",
}


def with_part(kind: str, part: bytes, name: str = "") -> bytes:
    """A sound document with another main part."""
    return zip_of({**members_of(SOUND[kind]), name or MAIN_PARTS[kind]: part})


def cut() -> Made:
    for kind, content in SOUND.items():
        for tenth in range(1, 10):
            yield f"{tenth}.{kind}", content[: len(content) * tenth // 10]


def under_a_wrong_name() -> Made:
    for kind, content in SOUND.items():
        for other in SOUND.keys() - {kind}:
            yield f"{kind}.{other}", content


def empty() -> Made:
    for kind in SOUND:
        for name, content in (("none", b""), ("space", b" \n\t" * 99), ("nul", bytes(4096)), ("ff", b"\xff" * 4096)):
            yield f"{name}.{kind}", content


def bombs() -> Made:
    for kind, part in MAIN_PARTS.items():
        members = members_of(SOUND[kind])
        yield f"zeros.{kind}", zip_of({**members, part: bytes(64 * MB)})
        yield f"spaces.{kind}", zip_of({**members, part: members[part] + b" " * 64 * MB})
        yield f"many.{kind}", zip_of({**members, **{f"x/{i}.xml": b"" for i in range(21_000)}})
        yield f"nested.{kind}", zip_of({**members, f"a.{kind}": SOUND[kind], "b.zip": zip_of({"c.zip": SOUND[kind]})})
        yield f"names.{kind}", zip_of({**members, "../../../../tmp/otter": b"x", "/etc/otter": b"x", "a\\..\\b": b"x"})
        archive = bytearray(SOUND[kind])
        directory = archive.rfind(b"PK\x01\x02")
        for name, at, value in (("size", 24, 2**32 - 2), ("packed", 20, 2**32 - 2), ("place", 42, 2**32 - 2)):
            lying = archive.copy()
            struct.pack_into("<I", lying, directory + at, value)
            yield f"{name}.{kind}", bytes(lying)
        secret = archive.copy()
        secret[directory + 8] |= 1
        yield f"secret.{kind}", bytes(secret)


def entities() -> Made:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    dtds = {
        "file": '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        "net": '<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/x">]>',
        "dtd": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd" [<!ENTITY e "x">]>',
        "parameter": '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p; <!ENTITY e "x">]>',
        "laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}<!ENTITY e "&l9;">]>',
        "large": f'<!DOCTYPE a [<!ENTITY e "{"x" * MB}">]>',
        "loop": '<!DOCTYPE a [<!ENTITY e "&f;"><!ENTITY f "&e;">]>',
    }
    for name, dtd in dtds.items():
        root = f"{XML}{dtd}<a {WORD}><w:body><w:p><w:r><w:t>{'&e;' * 99}</w:t></w:r></w:p></w:body></a>".encode()
        yield f"{name}.xml", root
        yield f"{name}.html", root
        for kind in MAIN_PARTS:
            yield f"{name}.{kind}", with_part(kind, root)
        yield f"{name}-types.docx", with_part("docx", root, "[Content_Types].xml")
        yield f"{name}-rels.pptx", with_part("pptx", root, "_rels/.rels")


def deep() -> Made:
    for depth in DEPTHS:
        nested = {
            "json": b"[" * depth,
            "xml": b"<a>" * depth,
            "html": b"<div><b>" * depth,
            "md": b"> " * depth + b"x",
            "rtf": b"{\\rtf1" + b"{" * depth,
            "txt": b"(" * depth,
            "ipynb": b'{"cells":' * depth,
            "csv": b'"' * depth,
            "pdf": SOUND["pdf"].replace(b"/Title(Otter)", b"/Title" + b"[" * depth + b"]" * depth),
            "eml": b"".join(
                b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (i, i) for i in range(depth // 9)
            ),
        }
        for kind, content in nested.items():
            yield f"{depth}.{kind}", content
        for kind in MAIN_PARTS:
            yield f"{depth}.{kind}", with_part(kind, b"<a>" * depth)
        closed = f"<w:document {WORD}><w:body>{'<w:sdt><w:sdtContent>' * depth}{'</w:sdtContent></w:sdt>' * depth}"
        yield f"{depth}-closed.docx", with_part("docx", f"{XML}{closed}</w:body></w:document>".encode())


def broken_pdfs() -> Made:
    pdf = SOUND["pdf"]
    changes = [
        (b"/Count 1", b"/Count 999999999"), (b"/Count 1", b"/Count -1"), (b"/Kids[", b"/Kids[2 0 R "),
        (b"/Parent 2 0 R", b"/Parent 5 0 R"), (b"0 0 600 800", b"0 0 1e30 1e30"), (b"0 0 600 800", b"0 0 -1 -1"),
        (b"0 0 600 800", b"0 0 nan inf"), (b"/Rotate 0", b"/Rotate 45"), (b"/Rotate 0", b"/Rotate 99999999999999"),
        (b"/Catalog", b"/Catalogue"), (b"/Length ", b"/Length -"), (b"/Length ", b"/Length 9999999"),
        (b"%PDF-1", b"%PDF-9"), (b"startxref", b"startxref\n999999999\n"), (b"trailer", b"trailer<</Prev 0>>"),
        (b"xref", b"xref\n0 4294967295\n"), (b"/Root 1 0 R", b"/Root 2 0 R"), (b"/Root 1 0 R", b"/Root 99 0 R"),
        (b"/Encoding/UniGB-UCS2-H", b"/Encoding/..#2f..#2f..#2ftmp#2fotter"), (b"Helvetica", b"x" * 70_000),
        (b"Tj", b"TJ"), (b" Td", b" Td q" * 5000), (b"BT", b"/P Do " * 5000 + b"BT"), (b"20 Tf", b"1e300 Tf"),
        (b"endstream", b"endstrea"), (b"endobj", b""), (b"obj", b"obj obj"), (b"stream", b"stream\r"),
        (b"/Title(Otter)", b"/Title(Otter)/AA<</O<</S/Launch/F(/bin/true)>>>>"),
        (b"/Catalog", b"/Catalog/OpenAction<</S/JavaScript/JS(app.launchURL\\('http://127.0.0.1:9'\\))>>"),
        (b"/Catalog", b"/Catalog/OpenAction<</S/URI/URI(http://127.0.0.1:9)>>"),
    ]  # fmt: skip
    for i, (before, after) in enumerate(changes):
        yield f"{i}.pdf", pdf.replace(before, after)
    bomb = zlib.compress(zlib.compress(b"BT (x) Tj ET " * 5_000_000))
    for filters in ("/FlateDecode", "/FlateDecode/FlateDecode", "/LZWDecode", "/JBIG2Decode", "/ASCII85Decode" * 50):
        head = f"/Filter[{filters}]/Length {len(bomb)}>>\nstream\n".encode()
        yield f"{filters[1:9]}-{len(filters)}.pdf", pdf.replace(b">>\nstream\n", head + bomb, 1)


def long_lines() -> Made:
    for kind in ("txt", "md", "html", "csv", "json", "xml", "srt", "eml", "rtf", "ipynb"):
        yield f"letters.{kind}", b"x" * 5_000_000
        yield f"sound.{kind}", SOUND[kind] + b"otter " * 500_000


def encodings() -> Made:
    texts = {
        "bom8": b"\xef\xbb\xbf\xff", "bom16": b"\xff\xfeA", "bom16be": b"\xfe\xff\x00A\xd8",
        "bom32": b"\xff\xfe\x00\x00A",
        "utf7": b"+ADw-script+AD4-", "surrogate": b"\xed\xa0\x80 \xed\xbf\xbf", "overlong": b"\xc0\xaf\xe0\x80\xaf",
        "nul": b"a\0b\0c", "lines": "a\u2028b\u2029c\x85d\x0b\x0c".encode(), "bidi": "\u202egpj.exe\u2066".encode(),
        "ansi": b"\x1b[2J\x1b]0;otter\x07\x1b[31m", "marks": ("a" + "\u0301" * 5000).encode(), "cut": "水".encode()[:2],
        "private": "\ue000\U000f0000\ufffe\uffff".encode(), "gb": "水獭".encode("gb18030") + b"\x80\xff",
        "jis": b"\x1b$B" + bytes(range(33, 120)), "hz": b"~{<:Ky~}", "all": bytes(range(256)) * 9,
    }  # fmt: skip
    for name, text in texts.items():
        for kind in ("txt", "md", "html", "csv", "json", "xml", "eml", "srt"):
            yield f"{name}.{kind}", text if kind in ("txt", "md") else SOUND[kind].replace(b"otter", text)


def names() -> Made:
    for name in (
        "a\nb", "a\rb", "\u202efdp", "CON", "-rf", "--help", "a" * 240, "水" * 80, "%00", "a;b", "$(true)", "'",
        '"', " ",
        "a.pdf", "..", "\u200b", "\x1b[31m", "&lt;", "<b>",
    ):  # fmt: skip
        for kind in ("txt", "pdf"):
            yield f"{name}.{kind}", SOUND[kind]


def tables() -> Made:
    wide = b",".join(b"%d" % i for i in range(100_000))
    for name, content in {
        "wide": wide, "rows": b"a\n" * 500_000, "open": b'"a' + b"\n" * 99_999, "quotes": b'""' * 99_999 + b"\n",
        "formula": b"=cmd|'/c calc'!A0\n@SUM(1)\n+1\n-1\n", "mixed": b"a,b\n1\n1,2,3\n\n,,,\n", "nul": b"a,\0\n" * 99,
    }.items():  # fmt: skip
        yield f"{name}.csv", content
        yield f"{name}.tsv", content.replace(b",", b"\t")
    sheet = members_of(SOUND["xlsx"])[MAIN_PARTS["xlsx"]]
    for i, (before, after) in enumerate(
        [
            (b"A1:B2", b"A1:XFD1048576"), (b'r="A1"', b'r="XFD1048576"'), (b'r="A1"', b'r="A99999999999"'),
            (b'r="A1"', b'r=""'), (b't="s"', b't="e"'), (b"<v>0</v>", b"<v>999999999</v>"), (b"<v>0</v>", b"<v>-1</v>"),
            (b"<v>9</v>", b"<f>WEBSERVICE(&quot;http://127.0.0.1:9&quot;)</f>"), (b"<v>9</v>", b"<v>1e9999</v>"),
            (b"<row ", b'<row r="1048577" '), (b"<sheetData>", b"<sheetData>" + b'<row r="1"/>' * 50_000),
            (b"<v>9</v>", b"<v>" + b"9" * 100_000 + b"</v>"),
        ]
    ):  # fmt: skip
        yield f"{i}.xlsx", with_part("xlsx", sheet.replace(before, after))


def mails() -> Made:
    head = b"Subject: %s\nMIME-Version: 1.0\nContent-Type: %s\n\n"
    for name, content in {
        "headers": b"X: y\n" * 200_000, "long": b"Subject: " + b"=?utf-8?q?a?= " * 20_000 + b"\n\nx",
        "parts": head % (b"a", b"multipart/mixed; boundary=x") + b"--x\n\na\n" * 20_000,
        "within": (head % (b"a", b"message/rfc822")) * 3000, "charset": head % (b"a", b"text/plain; charset=rot13"),
        "codec": head % (b"a", b"text/plain; charset=zip"), "idna": head % (b"=?idna?b?eHg=?=", b"text/plain"),
        "boundary": head % (b"a", b"multipart/mixed"), "base64": b"Content-Transfer-Encoding: base64\n\n" + b"A" * MB,
        "uu": b"Content-Transfer-Encoding: x-uuencode\n\nbegin 666 /tmp/otter\n#86%T\n`\nend\n", "none": b"\n\n\n",
        "file": head % (b"a", b'message/external-body; access-type=local-file; name="/etc/passwd"'),
        "name": head % (b"a", b'application/pdf; name="../../../tmp/otter"') + SOUND["pdf"], "date": b"Date: x\n\nx",
    }.items():  # fmt: skip
        yield f"{name}.eml", content


def pages() -> Made:
    for name, content in {
        "script": "<script>fetch('http://127.0.0.1:9')</script>", "frame": "<iframe src=file:///etc/passwd></iframe>",
        "refresh": "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9'>",
        "base": "<base href=http://127.0.0.1:9>",
        "attributes": f"<p {' '.join(f'a{i}=b' for i in range(99_999))}>", "comment": "<!--" * 99_999,
        "table": "<table><tr><td>" * 20_000, "span": "<td colspan=999999999 rowspan=999999999>x",
        "cdata": "<![CDATA[" * 999,
        "entity": "&#99999999999;&#0;&#xd800;&nosuch;" * 999, "list": "<ul><li>" * 20_000, "pre": "<pre>" * 20_000,
        "open": "<" * 99_999, "charset": "<meta charset=utf-7>+ADw-b+AD4-",
        "data": "<img src='data:;base64," + "A" * MB,
        "template": "<template>" * 20_000, "form": "<form><input>" * 9999, "svg": "<svg><use href='#a'/></svg>" * 9999,
        "links": "<a href=javascript:x>" * 20_000, "head": "<h1>" * 20_000, "select": "<select><option>" * 20_000,
    }.items():  # fmt: skip
        yield f"{name}.html", content.encode()
        yield f"{name}.md", content.encode()


def records() -> Made:
    for name, content in {
        "digits": "9" * 100_000, "float": "1e999999", "nan": "[NaN, Infinity, -Infinity]", "twice": '{"a":1,"a":2}',
        "escape": '"\\ud800\\u0000"', "bad": '"\\x"', "string": '"' + "x" * MB, "lines": "{}\n" * 200_000,
        "two": "{}{}",
        "keys": json.dumps({str(i): i for i in range(99_999)}), "wide": "[" + "{}," * 200_000 + "{}]",
    }.items():  # fmt: skip
        yield f"{name}.json", content.encode()
        yield f"{name}.jsonl", content.encode()
    for i, cells in enumerate(
        [None, {}, "x", 1, [None], [{}], [{"cell_type": 1}], [{"cell_type": "code", "source": 5}]]
    ):
        yield f"{i}.ipynb", json.dumps({"cells": cells}).encode()


def rich_texts() -> Made:
    for name, content in {
        "bin": r"\bin999999999 x", "negative": r"\bin-1 x", "unicode": r"\u-99999 \u99999999999 ",
        "skip": r"\uc999999 \u1 x",
        "word": "\\" + "a" * 99_999, "number": r"\fs" + "9" * 99_999, "hex": r"\'zz\'0",
        "object": r"{\object\objdata 01ff}",
        "field": r'{\field{\*\fldinst INCLUDETEXT "/etc/passwd"}}', "page": r"\ansicpg99999 \'ff", "close": "}" * 9999,
        "star": r"{\*\x " * 9999, "table": r"\trowd\cell\row" * 9999, "font": r"{\fonttbl" + r"{\f0 a;}" * 20_000 + "}",
    }.items():  # fmt: skip
        yield f"{name}.rtf", b"{\\rtf1\\ansi " + content.encode() + b" otter}"


def two_at_once() -> Made:
    for first in ("pdf", "docx", "html", "rtf", "eml"):
        for second in ("pdf", "docx", "xlsx", "epub"):
            for name in (first, second):
                yield f"{first}-{second}.{name}", SOUND[first] + SOUND[second]


def pictures() -> Made:
    size = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + b"\x08\x06\0\0\0\0\0\0\0"
    for kind in ("png", "jpg", "gif", "tif", "bmp", "webp", "pdf", "docx"):
        yield f"huge.{kind}", png
        yield f"jpeg.{kind}", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\xff" * 999
        yield f"gif.{kind}", b"GIF89a" + b"\xff" * 99


CLASSES: dict[str, Callable[[], Made]] = {
    "cut": cut, "under a wrong name": under_a_wrong_name, "empty": empty, "bombs": bombs, "entities": entities,
    "deep": deep, "broken PDFs": broken_pdfs, "long lines": long_lines, "encodings": encodings, "names": names,
    "tables": tables, "mails": mails, "pages": pages, "records": records, "rich texts": rich_texts,
    "two at once": two_at_once, "pictures": pictures,
}  # fmt: skip


def read(parser: Parser, path: Path) -> dict[str, object]:
    """What came of a file: its text's length or the sentence, and how long it took."""
    begin = time.monotonic()
    try:
        outcome = f"{len(parser.parse(path).text)} characters"
    except DocumentError as exc:
        outcome = str(exc)
    return {"name": path.name, "outcome": outcome, "seconds": time.monotonic() - begin}


def main() -> None:
    folder = Path(sys.argv[1])
    with Parser() as parser:
        for number, (what, make) in enumerate(CLASSES.items()):
            place = folder / str(number)
            place.mkdir()
            for name, content in make():
                (place / name).write_bytes(content)
                sys.stdout.write(json.dumps({"class": what, **read(parser, place / name)}) + "\n")
                (place / name).unlink()


if __name__ == "__main__":
    main()
