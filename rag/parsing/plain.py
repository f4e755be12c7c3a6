"""Text that is read as it stands: plain, Markdown, reStructuredText, Org and code. Offsets are the file's."""

import re
from collections.abc import Callable, Iterator

from markdown_it import MarkdownIt

from rag.documents import ParsedDocument
from rag.parsing.encodings import decode
from rag.parsing.kinds import Source
from rag.parsing.text_builder import TextBuilder, clean

MARKDOWN_MARKS = re.compile(r"^[ \t]*#{1,6}[ \t]+|[ \t]+#+[ \t]*$|[ \t]+$")
RST_LINE = re.compile(r"^([!-/:-@\[-`{-~])\1{2,}[ \t]*$")
ORG_HEADING = re.compile(r"^(\*{1,6})[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
MIN_UNDERLINE = 3

Span = tuple[int, int, int]
"""Start, end and level of a heading."""


def read(source: Source, kind: str) -> ParsedDocument:
    """The file's text, cleaned of control characters. Raises: DocumentError."""
    text, note = decode(source.content)
    text = clean(text)
    builder = TextBuilder(source.limits.num_characters)
    builder.notes += [note] if note else []
    builder.verbatim(text)
    for start, end, level in FINDERS[kind](text) if kind in FINDERS else ():
        builder.mark_heading(start, end, level)
    return builder.build(kind, source.stem)


def markdown_headings(text: str) -> Iterator[Span]:
    """Titles of a Markdown text, by a real parser: a `#` in a code block is none."""
    starts = _line_starts(text)
    parser = MarkdownIt("commonmark").disable(["link", "image", "emphasis", "autolink", "html_inline", "entity"])
    for token in parser.parse(text, {"inline_off": True}):
        if token.type == "heading_open" and token.map is not None:
            first, last = token.map
            is_underlined = token.markup in {"=", "-"}
            end_line = last - 1 if is_underlined else last
            start, end = starts[first], starts[min(end_line, len(starts) - 1)]
            yield from _without_marks(text, start, end, int(token.tag[1]))


def _without_marks(text: str, start: int, end: int, level: int) -> Iterator[Span]:
    line = text[start:end].rstrip("\n")
    opening = MARKDOWN_MARKS.match(line)
    begin = opening.end() if opening else len(line) - len(line.lstrip())
    words = re.sub(r"[ \t]+#*[ \t]*$", "", line[begin:]) or line[begin:]
    if words.strip():
        yield start + begin, start + begin + len(words), level


def rst_headings(text: str) -> Iterator[Span]:
    """Titles of a reStructuredText: underlined lines, whose level is the order in which their marks come first."""
    starts, levels = _line_starts(text), dict[tuple[str, bool], int]()
    lines = text.split("\n")
    for i in range(1, len(lines)):
        title, mark = lines[i - 1].rstrip(), RST_LINE.match(lines[i])
        if not mark or not title.strip() or RST_LINE.match(title) or len(lines[i].rstrip()) < min(len(title), 60):
            continue
        is_overlined = i >= 2 and lines[i - 2].rstrip() == lines[i].rstrip()
        is_underline_of_a_block = i >= 2 and lines[i - 2].strip() and not is_overlined
        if is_underline_of_a_block or (title.startswith(" ") and not is_overlined):
            continue
        level = levels.setdefault((mark[1], is_overlined), len(levels) + 1)
        begin = starts[i - 1] + len(title) - len(title.lstrip())
        yield begin, starts[i - 1] + len(title), min(level, 6)


def org_headings(text: str) -> Iterator[Span]:
    """Titles of an Org text: lines that begin with stars."""
    for match in ORG_HEADING.finditer(text):
        yield match.start(2), match.end(2), len(match[1])


FINDERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "md": markdown_headings,
    "rst": rst_headings,
    "org": org_headings,
}


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
