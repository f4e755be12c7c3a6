"""Small PDF files, written by hand: lines of Helvetica at known places, or of an embedded-nowhere Chinese font."""

from collections.abc import Sequence
from dataclasses import dataclass

CHINESE_FONT = (
    "<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UCS2-H/DescendantFonts[<</Type/Font"
    "/Subtype/CIDFontType0/BaseFont/STSong-Light/CIDSystemInfo<</Registry(Adobe)/Ordering(GB1)/Supplement 2>>"
    "/DW 1000/FontDescriptor<</Type/FontDescriptor/FontName/STSong-Light/Flags 6/FontBBox[0 -200 1000 900]"
    "/ItalicAngle 0/Ascent 880/Descent -120/CapHeight 700/StemV 80>>>>]>>"
)


@dataclass(frozen=True)
class Text:
    """A line whose baseline begins at (x, y), in points from the lower left corner."""

    x: float
    y: float
    words: str
    size: float = 12.0


@dataclass(frozen=True)
class PdfPage:
    """A page of 600 × 800 points."""

    texts: Sequence[Text] = ()
    rotate: int = 0
    crop: Sequence[float] = (0, 0, 600, 800)
    has_picture: bool = False


def make_pdf(*pages: PdfPage, title: str = "") -> bytes:
    """The bytes of a PDF."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>", ""]
    fonts = f"<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>/F2{CHINESE_FONT}>>"
    picture = "<</Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8/Length 1>>"
    objects.append(f"{picture}\nstream\nA\nendstream")
    kids = []
    for page in pages:
        content = "".join(map(_drawn, page.texts)) + ("q 500 0 0 700 50 50 cm /P Do Q" if page.has_picture else "")
        objects.append(f"<</Length {len(content.encode('latin-1'))}>>\nstream\n{content}\nendstream")
        crop = " ".join(map(str, page.crop))
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/CropBox[{crop}]/Rotate {page.rotate}"
            f"/Resources<</Font{fonts}/XObject<</P 3 0 R>>>>/Contents {len(objects)} 0 R>>"
        )
    objects[1] = f"<</Type/Pages/Count {len(kids)}/Kids[{' '.join(kids)}]>>"
    objects.append(f"<</Title({title})>>")
    return _file(objects)


def _drawn(text: Text) -> str:
    if text.words.isascii():
        words = text.words.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        return f"BT /F1 {text.size} Tf {text.x} {text.y} Td ({words}) Tj ET\n"
    return f"BT /F2 {text.size} Tf {text.x} {text.y} Td <{text.words.encode('utf-16-be').hex()}> Tj ET\n"


def _file(objects: Sequence[str]) -> bytes:
    content, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(content)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    content += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    trailer = f"<</Size {len(objects) + 1}/Root 1 0 R/Info {len(objects)} 0 R>>"
    return content + f"trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n".encode()
