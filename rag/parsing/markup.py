"""HTML, EPUB and XML → paragraphs, headings and tables. No entity is expanded and nothing is fetched."""

import io
import posixpath
import re
import urllib.parse
import zipfile
from collections.abc import Iterator
from typing import Any

import lxml.etree
import lxml.html

from rag.documents import ParsedDocument
from rag.parsing.encodings import decode
from rag.parsing.kinds import Source
from rag.parsing.text_builder import TextBuilder, clean
from rag.remarks import RefusedError, Remark

HEADINGS = {f"h{level}": level for level in range(1, 7)}
INLINE = frozenset(
    (
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
        "ruby",
        "rb",
        "rt",
    )
)
DROPPED = frozenset(
    (
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "math",
        "iframe",
        "object",
        "embed",
        "applet",
        "canvas",
        "audio",
        "video",
        "select",
        "button",
        "input",
        "textarea",
        "nav",
        "head",
        "title",
        "meta",
        "link",
        "rp",
    )
)
HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>", re.DOTALL)
LOOKS_LIKE_HTML = re.compile(r"<(?:p|br|div|a|b|i|img|span|ul|li|table)\b[^>]*>", re.IGNORECASE)
CONTAINER = "META-INF/container.xml"
LARGE_TAG = re.compile(r"<([a-z][\w:-]*+)([^<>]{20000,})", re.IGNORECASE)
MAX_SPINE = 5000
MAX_ATTRIBUTES = 1000  # the parser's time grows with their square
MAX_FIELD_LENGTH = 60


def read(source: Source, kind: str) -> ParsedDocument:
    """The text of a page, a book or an XML file. Raises: DocumentError."""
    builder = TextBuilder(source.limits.num_characters)
    if kind == "epub":
        title = _add_book(builder, source)
    elif kind == "xml":
        title = _add_xml(builder, source)
    else:
        text, note = decode(source.content)
        builder.notes += [note] if note else []
        title = add_html(builder, text)
    return builder.build(kind, title or source.stem)


def add_html(builder: TextBuilder, text: str) -> str:
    """Add what a reader of the page sees, and give its title."""
    parser = lxml.html.HTMLParser(
        encoding="utf-8", no_network=True, huge_tree=True, remove_comments=True, remove_pis=True
    )
    content = LARGE_TAG.sub(_bounded, DECLARATION.sub("", clean(text))).encode()
    try:
        root = lxml.html.document_fromstring(content, parser=parser)
    except (lxml.etree.ParserError, lxml.etree.XMLSyntaxError):  # nothing but comments, or nothing
        return ""
    title = root.findtext(".//title") or ""
    _Page(builder).walk(root)
    return str(title)


def _bounded(tag: re.Match[str]) -> str:
    """A tag with as many attributes as it has words, or without any."""
    return f"<{tag[1]}" if len(tag[2].split()) > MAX_ATTRIBUTES else tag[0]


class _Page:
    """Walks through the elements of a page without recursion, since pages can be nested without end."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._held: list[str] = []

    def walk(self, root: Any) -> None:
        """Add the blocks of text of a tree."""
        events = lxml.etree.iterwalk(root, events=("start", "end"))
        for event, element in events:
            tag = element.tag if isinstance(element.tag, str) else ""
            if event == "start":
                if tag in DROPPED or _is_hidden(element):
                    events.skip_subtree()
                elif tag == "table" and _is_data(element):
                    self._flush()
                    self._table(element)
                    events.skip_subtree()
                elif tag in HEADINGS:
                    self._flush()
                    self._builder.heading("".join(_visible(element)), HEADINGS[tag])
                    events.skip_subtree()
                else:
                    self._open(tag, element)
            else:
                self._close(tag, element)
        self._flush()

    def _open(self, tag: str, element: Any) -> None:
        if tag == "br":
            self._held.append("\n")
        elif tag not in INLINE:
            self._flush()
            self._held += ["• "] if tag == "li" else []
        self._held.append(_folded(element.text, is_kept=tag == "pre"))

    def _close(self, tag: str, element: Any) -> None:
        if tag not in INLINE and tag != "br":
            self._flush()
        self._held.append(_folded(element.tail))

    def _flush(self) -> None:
        text = "".join(self._held)
        self._held = []
        lines = [line.strip(" ") for line in re.sub(" {2,}", " ", text).split("\n")]
        words = "\n".join(line for line in lines if line)
        if words.strip("• \n"):
            self._builder.paragraph(words)

    def _table(self, table: Any) -> None:
        for row in table.iter("tr"):
            self._builder.row("".join(_visible(cell)) for cell in row if cell.tag in {"td", "th"})
        self._builder.end_table()


def _is_hidden(element: Any) -> bool:
    """Whether an element is not shown, or leads to other pages."""
    is_navigation = element.get("role") in {"navigation", "search"}
    return is_navigation or element.get("hidden") is not None or bool(HIDDEN.search(element.get("style") or ""))


def _is_data(table: Any) -> bool:
    """Whether a table holds data; one that holds tables, headings or long text lays out the page."""
    if next(table.iterdescendants("table", "ul", "p", *HEADINGS), None) is not None:
        return False
    return all(len(cell.text_content()) < 1000 for cell in table.iterdescendants("td"))


def _visible(element: Any) -> Iterator[str]:
    events = lxml.etree.iterwalk(element, events=("start", "end"))
    for event, inner in events:
        if event == "start":
            if inner.tag in DROPPED:
                events.skip_subtree()
            else:
                yield " " if inner.tag == "br" else ""
                yield inner.text or ""
        elif inner is not element:
            yield " " if isinstance(inner.tag, str) and inner.tag not in INLINE else ""
            yield inner.tail or ""


def _folded(text: str | None, *, is_kept: bool = False) -> str:
    """White space as a page shows it: one space, unless the page says that it stays."""
    return (text or "") if is_kept else re.sub(r"\s+", " ", text or "")


def xml_tree(content: bytes) -> Any:
    """The root of an XML file. Raises: DocumentError when it is none."""
    parser = lxml.etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        return lxml.etree.fromstring(content, parser)
    except (lxml.etree.XMLSyntaxError, ValueError) as exc:
        raise RefusedError("damaged_xml", reason=str(exc)) from exc


def _add_xml(builder: TextBuilder, source: Source) -> str:
    """One paragraph for each element that holds text of its own; elements named `title` are headings."""
    text, note = decode(source.content)
    builder.notes += [note] if note else []
    try:
        root = xml_tree(DECLARATION.sub("", clean(text)).encode())
    except RefusedError as exc:
        builder.notes.append(Remark("note_xml", exc.remark.values))
        return add_html(builder, DOCTYPE.sub("", text, count=1))
    title, num_titles = "", 0
    short: list[str] = []  # fields of a record, one on each line
    for element in _text_blocks(root):
        words = " ".join("".join(element.itertext()).split())
        is_title = lxml.etree.QName(element).localname.lower() in {"title", "article-title"}
        if is_title or len(words) > MAX_FIELD_LENGTH:
            builder.paragraph("\n".join(short))
            short = []
        if is_title:
            level = 1 + sum(1 for _ in element.iterancestors("sec", "section", "chapter", "item", "entry"))
            builder.heading(_plain(words), level + (num_titles > 0 and level == 1))
            title, num_titles = title or words, num_titles + 1
        elif len(words) > MAX_FIELD_LENGTH:
            builder.paragraph(_plain(words))
        else:
            short.append(_plain(words))
    builder.paragraph("\n".join(short))
    return title


def _text_blocks(root: Any) -> Iterator[Any]:
    """The highest elements with text of their own, in order."""
    events = lxml.etree.iterwalk(root, events=("start",))
    for _, element in events:
        own = (element.text or "").strip() or any((child.tail or "").strip() for child in element)
        if own:
            yield element
            events.skip_subtree()


def _plain(words: str) -> str:
    """Feeds hold pages as text: these without their tags."""
    if not LOOKS_LIKE_HTML.search(words):
        return words
    inner = TextBuilder(len(words) * 2 + 100)
    add_html(inner, words)
    return inner.build("html", "").text


def _add_book(builder: TextBuilder, source: Source) -> str:
    """The chapters of an EPUB by its spine."""
    with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
        names = set(archive.namelist())
        if "META-INF/encryption.xml" in names and b"EncryptedData" in archive.read("META-INF/encryption.xml"):
            builder.notes.append(Remark("note_book"))
        package_name = _package_name(archive, names)
        package = xml_tree(archive.read(package_name))
        manifest = {item.get("id"): item.get("href") for item in package.iterfind(".//{*}manifest/{*}item")}
        for reference in list(package.iterfind(".//{*}spine/{*}itemref"))[:MAX_SPINE]:
            href = urllib.parse.unquote(manifest.get(reference.get("idref")) or "")
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package_name), href.partition("#")[0]))
            if name in names:
                add_html(builder, decode(archive.read(name))[0])
        return str(package.findtext(".//{*}metadata/{*}title") or "")


def _package_name(archive: zipfile.ZipFile, names: set[str]) -> str:
    root = xml_tree(archive.read(CONTAINER)) if CONTAINER in names else None
    found = root.find(".//{*}rootfile") if root is not None else None
    name = found.get("full-path") if found is not None else None
    name = name or next((name for name in sorted(names) if name.endswith(".opf")), "")
    if name not in names:
        raise RefusedError("no_chapters")
    return name
