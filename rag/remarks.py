"""What the library says of a file: why it cannot be read, or what a reader of it should know.

A remark is a code and its values, kept as such, so that the page can say it in the user's language. Its English stands
here: the sentence and, for an error, what to do. Values are plain; what a document brings of them is escaped where it
is shown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.errors import DocumentError

Value = str | int | float

UNPROTECTED = "Save a copy without a password and add that."
SAVED_ANEW = "Open it in its own program, save it anew and add that copy."
OTHER_COPY = "Add a copy saved as PDF, DOCX or text."
LEAVE = "Leave it out."
PRINT = "Print it to a new PDF in a PDF reader, and add that."
RIGHTS = "Check the path and your rights."
SENTENCES: dict[str, tuple[str, str]] = {
    # The file
    "unreadable": ("it cannot be read: {reason}.", RIGHTS),
    "no_file": ("it is no regular file.", "Add files, or a folder of files."),
    "file_too_large": ("it is {size_mb:,.0f} MB; at most {most_mb:,.0f} MB are read.", "Split it, and add the parts."),
    "changed": ("it changed while it was read.", "Add it again when it is at rest."),
    "was_at": ("it was {path}.", ""),
    "empty": ("it is empty.", LEAVE),
    "no_text": ("it holds no text.", LEAVE),
    # The process that reads
    "our_fault": ("an error in this program keeps it from being read.", "See the log file, and report this."),
    "reader_fault": (
        "a fault of this program keeps it from being read ({reason}).",
        "Add a copy in another format, and report this.",
    ),
    "stopped": ("the reading was stopped.", "Add it again."),
    "too_much_memory": ("reading it took more than {most_mb:,.0f} MB of memory.", SAVED_ANEW),
    "no_memory": ("reading it took more memory than is allowed.", SAVED_ANEW),
    "too_much_computing": ("reading it took more than {seconds:.0f} seconds of computing.", SAVED_ANEW),
    "too_long": ("reading it took more than {seconds:.0f} seconds.", SAVED_ANEW),
    "broke_reader": (
        "the file broke its reader (status {status}): it is damaged, or made to break readers.",
        SAVED_ANEW,
    ),
    "senseless_answer": ("the process that reads documents answered with something that makes no sense.", SAVED_ANEW),
    "too_deep": ("it is nested too deep to be read.", SAVED_ANEW),
    "damaged": ("it is damaged or not what its name says ({reason}).", SAVED_ANEW),
    # Kinds
    "password": ("it is protected with a password.", UNPROTECTED),
    "other_kind": ("it is named {suffix}, but holds something else.", OTHER_COPY),
    "archive": ("it is an archive, and archives are not opened.", "Unpack it, and add the folder."),
    "program": ("it is a program and holds no text.", LEAVE),
    "recording": ("it is sound or film, and holds no text.", "Add its subtitles or a transcript."),
    "damaged_file": ("it is a damaged file ({reason}).", SAVED_ANEW),
    "old_kind": ("it is a {kind} file, which is not read.", "Save it as {better} and add that."),
    "office_kind": ("it is a kind of office file that is not read.", OTHER_COPY),
    "too_many_parts": ("it has {count:,} parts; at most {most:,} are read.", OTHER_COPY),
    "unpacks_too_large": ("it unpacks to {size_mb:,.0f} MB; at most {most_mb:,.0f} MB are read.", OTHER_COPY),
    "entities": ("it declares entities, which no office program writes.", OTHER_COPY),
    "no_content": ("it is an OpenDocument file without content.", OTHER_COPY),
    "damaged_docx": ("it is a damaged DOCX: {reason}", OTHER_COPY),
    "damaged_pptx": ("it is a damaged PPTX ({reason}).", OTHER_COPY),
    "damaged_xls": ("it is an Excel file that cannot be read ({reason}).", "Save it as XLSX and add that."),
    "damaged_table": ("it is no table that can be read ({reason}).", "Save it anew as CSV and add that."),
    "damaged_xml": ("it is damaged XML ({reason}).", OTHER_COPY),
    "no_chapters": ("it is an EPUB without a list of its chapters.", OTHER_COPY),
    "too_much_text": ("it holds more than {most:,} characters of text.", "Split it, and add the parts."),
    "unknown_encoding": ("it is not text in any encoding known here.", "Add a copy saved as UTF-8 text, PDF or DOCX."),
    "broken_encoding": (
        "it looks like {encoding} text, but {count:,} of {total:,} characters are broken.",
        "Add a copy saved as UTF-8.",
    ),
    # Pages
    "damaged_pdf": ("it is a damaged PDF that cannot be opened.", PRINT),
    "no_pages": ("it is a PDF without pages.", LEAVE),
    "too_many_pages": ("it has {count:,} pages; at most {most:,} are read.", "Split it."),
    "broken_pages": ("it is a damaged PDF: {count} of {total} pages cannot be opened.", PRINT),
    "pictures": (
        "it is images without text ({count} of {total} pages).",
        "Install tesseract with the languages chi_sim and eng, and add it again.",
    ),
    "pictures_without_text": ("it is images, in which tesseract finds no text.", LEAVE),
    "pages_without_text": ("it has no text on any page ({total}).", LEAVE),
    "no_tesseract": (
        "it is a picture, and reading those takes tesseract, which is not installed.",
        "Install tesseract with the languages chi_sim and eng, and add it again.",
    ),
    "picture_too_large": ("it has {width:,} × {height:,} pixels; at most {most:,} are read.", "Scale it down."),
    "nothing_to_show": ("it has no pages to show.", "Show its text instead."),
    "no_such_page": ("it has {total} pages, and no page {page}.", "Choose one of them."),
    # Notes of what was read
    "note_images": ("image only: {count} of {total} pages", ""),
    "note_odd_text": ("broken text layer, of characters that no font names: {count} of {total} pages", ""),
    "note_recognised": ("recognised by tesseract: {count} of {total} pages", ""),
    "note_picture": ("recognised by tesseract", ""),
    "note_no_tesseract": ("tesseract is not installed; with it, pictures of text are read too", ""),
    "note_tesseract_nothing": ("tesseract found no text there", ""),
    "note_damaged": ("damaged: {count} of {total} pages", ""),
    "note_broken": ("{count} broken characters", ""),
    "note_json": ("not valid JSON ({reason}); read as plain text", ""),
    "note_xml": ("damaged XML ({reason}); read as a page", ""),
    "note_book": ("parts of the book are encrypted", ""),
    "note_attachments": ("attachments are not read: {names}", ""),
    "said": ("{text}", ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remark:
    """A code of SENTENCES and the values in its sentence; `file` is the name of the file that it is about."""

    code: str
    values: Mapping[str, Value] = field(default_factory=dict)
    file: str = ""

    def __str__(self) -> str:
        return self.told(*SENTENCES[self.code])

    def told(self, message: str, remedy: str, *, colon: str = ": ", gap: str = " ") -> str:
        """Itself, where these say its sentence in some language, with that language's signs between its parts."""
        words = gap.join(filter(None, (message.format(**self.values), remedy.format(**self.values))))
        return f"{self.file}{colon}{words}" if self.file else words

    def to_json(self) -> str:
        return json.dumps({"code": self.code, "values": self.values, "file": self.file}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Remark":
        """Raises: ValueError for what is no remark."""
        try:
            fields = json.loads(text)
            remark = cls(fields["code"], dict(fields["values"]), str(fields.get("file", "")))
            str(remark)
        except (KeyError, TypeError, IndexError, AttributeError) as exc:
            raise ValueError(f"no remark: {exc}") from exc
        if not all(isinstance(value, str | int | float) for value in remark.values.values()):
            raise ValueError("a remark with values that are no text and no numbers")
        return remark


class RefusedError(DocumentError):
    """A file that gives no text, with the remark that says why."""

    def __init__(self, code: str, *, file: str = "", **values: Value) -> None:
        self.remark = Remark(code, values, file)
        message, remedy = (part.format(**values) for part in SENTENCES[code])
        super().__init__(f"{file}: {message}" if file else message, remedy)

    @classmethod
    def of(cls, remark: Remark) -> "RefusedError":
        """What a remark says."""
        return cls(remark.code, file=remark.file, **remark.values)

    def about(self, file: str) -> "RefusedError":
        """The same of a file with a name."""
        return RefusedError(self.remark.code, file=file, **self.remark.values)
