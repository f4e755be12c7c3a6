"""Pages and pictures as PNG, with boxes marked."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from rag.documents import Box
from rag.parsing.kinds import Source, kind_of
from rag.parsing.pdf import fitting_scale, open_pdf
from rag.parsing.pictures import open_picture
from rag.remarks import RefusedError

MARKER = (255, 213, 0, 90)
MARKER_EDGE = (214, 138, 0, 255)
MAX_RENDER_SCALE = 8.0


def render(source: Source, number: int, boxes: Sequence[Box], scale: float) -> bytes:
    """A page or a picture as PNG, boxes marked. Raises: DocumentError."""
    kind = kind_of(source)
    if kind == "image":
        picture, scale = open_picture(source).convert("RGB"), 1.0
    elif kind == "pdf":
        picture, scale = _rendered(source, number, scale)
    else:
        raise RefusedError("nothing_to_show")
    overlay = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(overlay)
    for box in boxes:
        left, right = sorted((box.left * scale, box.right * scale))
        top, bottom = sorted((box.top * scale, box.bottom * scale))
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), MARKER, MARKER_EDGE)
    content = io.BytesIO()
    Image.alpha_composite(picture.convert("RGBA"), overlay).convert("RGB").save(content, "PNG", compress_level=3)
    return content.getvalue()


def _rendered(source: Source, number: int, scale: float) -> tuple[Image.Image, float]:
    document = open_pdf(source)
    if not 1 <= number <= len(document):
        raise RefusedError("no_such_page", total=len(document), page=number)
    page = document[number - 1]
    scale = fitting_scale(page.get_size(), min(max(scale, 0.1), MAX_RENDER_SCALE))
    return page.render(scale=scale).to_pil(), scale
