"""Kinds of files: by name for what to offer, by content for what to read."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath

from rag.parsing.limits import Limits
from rag.parsing.ocr import find_tesseract
from rag.remarks import RefusedError

CODE_SUFFIXES = frozenset(
    (
        ".py",
        ".pyi",
        ".js",
        ".mjs",
        ".ts",
        ".tsx",
        ".jsx",
        ".java",
        ".kt",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cs",
        ".go",
        ".rs",
        ".rb",
        ".php",
        ".swift",
        ".scala",
        ".lua",
        ".pl",
        ".r",
        ".jl",
        ".m",
        ".sh",
        ".bash",
        ".zsh",
        ".ps1",
        ".bat",
        ".sql",
        ".css",
        ".scss",
        ".vue",
        ".toml",
        ".yaml",
        ".yml",
        ".ini",
        ".cfg",
        ".conf",
        ".tex",
        ".bib",
        ".proto",
        ".gradle",
        ".dart",
        ".ex",
        ".hs",
        ".clj",
        ".zig",
        ".asm",
        ".cu",
        ".f90",
        ".cmake",
        ".diff",
        ".patch",
    )
)
TEXT_KINDS = {
    **dict.fromkeys((".md", ".markdown", ".mdx"), "md"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".ipynb"), "json"),
    **dict.fromkeys((".xml", ".rss", ".atom"), "xml"),
    **dict.fromkeys(CODE_SUFFIXES, "code"),
    **{f".{kind}": kind for kind in ("rst", "org", "srt", "vtt", "eml")},
    **dict.fromkeys((".txt", ".text", ".log"), "txt"),
}
BINARY_KINDS = {
    f".{kind}": kind for kind in ("pdf", "docx", "pptx", "xlsx", "xls", "epub", "odt", "odp", "ods", "rtf", "msg")
} | {".docm": "docx", ".pptm": "pptx", ".xlsm": "xlsx"}
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"})
SUPPORTED_SUFFIXES = frozenset({*TEXT_KINDS, *BINARY_KINDS})
OLD_KINDS = {
    ".doc": ("Word 97–2003", "DOCX"),
    ".ppt": ("PowerPoint 97–2003", "PPTX"),
    ".wps": ("WPS", "DOCX"),
    ".pages": ("Pages", "PDF"),
    ".key": ("Keynote", "PDF"),
    ".numbers": ("Numbers", "XLSX"),
}
OPEN_PACKAGES = {"word/": "docx", "ppt/": "pptx", "xl/": "xlsx"}
MIME_TYPES = {
    "application/epub+zip": "epub",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
}
IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
ARCHIVES = (b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
PROGRAMS = (b"\x7fELF", b"MZ\x90\0", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
RECORDINGS = (b"ID3", b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
PDF_WITHIN = 1024  # where readers look for a PDF's mark
MAX_NAME_LENGTH = 80
DOCTYPE_WITHIN = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read: its name, of which only the suffix says something, its bytes, and what it may cost."""

    name: str
    content: bytes
    limits: Limits

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePath(self.name).stem

    @property
    def suffix(self) -> str:
        """`.pdf`; empty when the name has none."""
        return PurePath(self.name).suffix.lower()


def is_supported(path: Path) -> bool:
    """Whether a file of this name is worth opening; a picture only where tesseract is installed."""
    suffix = path.suffix.lower()
    return suffix in SUPPORTED_SUFFIXES or (suffix in IMAGE_SUFFIXES and find_tesseract() is not None)


def can_need_ocr(path: Path) -> bool:
    """Whether a file of this name may have pages that are pictures."""
    return path.suffix.lower() in {".pdf", *IMAGE_SUFFIXES}


def shown(path: Path) -> str:
    """The file's name for a message: one short line, in which nothing runs backwards."""
    name = "".join(character if character.isprintable() else "�" for character in path.name)
    if len(name) <= MAX_NAME_LENGTH:
        return name
    return name[: MAX_NAME_LENGTH // 2] + "…" + name[-MAX_NAME_LENGTH // 2 :]


def kind_of(source: Source) -> str:
    """What the bytes are, whatever the name says. Raises: DocumentError for what is not read, with what to do."""
    content, head = source.content, source.content[:PDF_WITHIN]
    if not content.strip():
        raise RefusedError("empty")
    if b"%PDF-" in head:
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(source)
    if head.startswith(OLE):
        return _ole_kind(source)
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    _refuse_others(head)
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")) and source.suffix not in TEXT_KINDS:
        return "html"
    if source.suffix in BINARY_KINDS or source.suffix in OLD_KINDS:
        raise RefusedError("other_kind", suffix=source.suffix)
    return TEXT_KINDS.get(source.suffix, "txt")


def _refuse_others(head: bytes) -> None:
    if head.startswith(ARCHIVES) or head[257:262] == b"ustar":
        raise RefusedError("archive")
    if head.startswith(PROGRAMS):
        raise RefusedError("program")
    if (
        head.startswith(RECORDINGS)
        or head[4:8] == b"ftyp"
        or (head[:4] == b"RIFF" and head[8:12] in {b"WAVE", b"AVI "})
    ):
        raise RefusedError("recording")


def _zip_kind(source: Source) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
            members = archive.infolist()
            _check_members(members, source.limits)
            names = {member.filename for member in members}
            kind = _package_kind(archive, names)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as exc:
        raise RefusedError("damaged_file", reason=str(exc)) from exc
    if kind is None and source.suffix in OLD_KINDS:
        what, better = OLD_KINDS[source.suffix]
        raise RefusedError("old_kind", kind=what, better=better)
    if kind is None:
        raise RefusedError("archive")
    return kind


def _check_members(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Python's zipfile gives no more of a member than its entry declares, so the declared sizes are the bound."""
    if len(members) > limits.num_members:
        raise RefusedError("too_many_parts", count=len(members), most=limits.num_members)
    total = sum(member.file_size for member in members)
    if total > limits.expanded_bytes:
        raise RefusedError("unpacks_too_large", size_mb=total / 1e6, most_mb=limits.expanded_bytes / 1e6)
    if any(member.flag_bits & 1 for member in members):
        raise RefusedError("password")


def _package_kind(archive: zipfile.ZipFile, names: set[str]) -> str | None:
    if "[Content_Types].xml" in names:
        kind = next(
            (kind for folder, kind in OPEN_PACKAGES.items() if any(name.startswith(folder) for name in names)), None
        )
        if kind:
            _refuse_doctypes(archive, names)
        return kind
    if "mimetype" in names:
        mime_type = archive.read("mimetype")[:200].decode("ascii", "replace").strip()
        return MIME_TYPES.get(mime_type.removesuffix("-template"))
    return "epub" if "META-INF/container.xml" in names else None


def _refuse_doctypes(archive: zipfile.ZipFile, names: set[str]) -> None:
    """An office file needs no DTD; one that has it wants its reader to expand entities."""
    for name in names:
        if name.endswith((".xml", ".rels")):
            with archive.open(name) as member:
                if b"<!DOCTYPE" in member.read(DOCTYPE_WITHIN).replace(b"\0", b""):
                    raise RefusedError("entities")


def _ole_kind(source: Source) -> str:
    import olefile

    with olefile.OleFileIO(io.BytesIO(source.content)) as compound:
        streams = {"/".join(path) for path in compound.listdir()}
    if "EncryptedPackage" in streams:
        raise RefusedError("password")
    if "__properties_version1.0" in streams:
        return "msg"
    if streams & {"Workbook", "Book"}:
        return "xls"
    for stream, suffix in (("WordDocument", ".doc"), ("PowerPoint Document", ".ppt")):
        if stream in streams:
            what, better = OLD_KINDS[suffix]
            raise RefusedError("old_kind", kind=f"{what} ({suffix})", better=better)
    raise RefusedError("office_kind")
