"""Pictures → the text in them, by OCR."""

import io
import warnings

from PIL import Image, ImageOps

from rag.documents import Page, ParsedDocument
from rag.parsing.kinds import Source
from rag.parsing.ocr import Recogniser
from rag.parsing.page_layout import PageLine, add_page
from rag.parsing.text_builder import TextBuilder, clean
from rag.remarks import RefusedError, Remark

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
MAX_PIXELS = 60_000_000


def read(source: Source, kind: str) -> ParsedDocument:
    """The text in a picture; its page is as large as it has pixels. Raises: DocumentError."""
    picture = open_picture(source)
    recogniser = Recogniser(source.limits.ocr_s)
    if not recogniser.is_at_hand:
        raise RefusedError("no_tesseract")
    builder = TextBuilder(source.limits.num_characters)
    lines = [(" ".join(clean(line.text).split()), line.box) for line in recogniser.lines(picture)]
    add_page(builder, 1, [PageLine(text, box) for text, box in lines if text])
    builder.pages.append(Page(1, 0, builder.length, *map(float, picture.size)))
    builder.notes.append(Remark("note_picture"))
    return builder.build(kind, source.stem)


def open_picture(source: Source) -> Image.Image:
    """The picture, turned as its camera says. Raises: DocumentError when it is too large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked here
        picture = Image.open(io.BytesIO(source.content), formats=FORMATS)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise RefusedError("picture_too_large", width=width, height=height, most=MAX_PIXELS)
    return ImageOps.exif_transpose(picture)
