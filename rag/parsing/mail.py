"""Mail (EML, Outlook MSG) and RTF → text."""

import codecs
import email
import email.header
import email.policy
import io
from email.message import EmailMessage, MIMEPart

from rag.documents import ParsedDocument
from rag.parsing.encodings import decode
from rag.parsing.kinds import Source
from rag.parsing.markup import add_html
from rag.parsing.text_builder import TextBuilder
from rag.remarks import Remark

SHOWN_HEADERS = ("From", "To", "Cc", "Date")


def read(source: Source, kind: str) -> ParsedDocument:
    """The text of a message or an RTF file. Raises: DocumentError."""
    builder = TextBuilder(source.limits.num_characters)
    if kind == "eml":
        title = _add_mail(builder, source.content)
    elif kind == "msg":
        title = _add_outlook(builder, source.content)
    else:
        title = _add_rtf(builder, source.content)
    return builder.build(kind, title or source.stem)


def _add_mail(builder: TextBuilder, content: bytes) -> str:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    subject = str(message.get("Subject", ""))
    builder.heading(subject, 1)
    builder.paragraph("\n".join(f"{name}: {message[name]}" for name in SHOWN_HEADERS if message[name]))
    body = message.get_body(("plain", "html"))
    if body is not None:
        text, _ = decode(_bytes_of(body)) if _bytes_of(body).strip() else ("", None)
        if body.get_content_type() == "text/html":
            add_html(builder, text)
        else:
            builder.paragraph(text)
    _note_attachments(builder, [part.get_filename() or "unnamed" for part in message.iter_attachments()])
    return subject


def _bytes_of(part: MIMEPart) -> bytes:
    """The body's bytes as UTF-8, where what it says of its encoding is true; as they are where not."""
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset() or "utf-8").encode("utf-8", "surrogatepass")
    except (LookupError, UnicodeDecodeError):
        return content


def _add_outlook(builder: TextBuilder, content: bytes) -> str:
    from oxmsg import Message

    codecs.register(_windows_encoding)
    message = Message.load(io.BytesIO(content))
    subject = message.subject or ""
    builder.heading(subject, 1)
    headers = {
        "From": str(email.header.make_header(email.header.decode_header(message.sender or ""))),
        "To": ", ".join(filter(None, (recipient.name for recipient in message.recipients))),
        "Date": message.sent_date.isoformat(" ", "minutes") if message.sent_date else "",
    }
    builder.paragraph("\n".join(f"{name}: {words}" for name, words in headers.items() if words))
    if (message.body or "").strip():
        builder.paragraph(message.body or "")
    elif message.html_body:
        add_html(builder, message.html_body)
    _note_attachments(builder, [attachment.file_name or "unnamed" for attachment in message.attachments])
    return subject


def _windows_encoding(name: str) -> codecs.CodecInfo | None:
    """Outlook's `windows-950`, which Python has as `cp950`."""
    return codecs.lookup(f"cp{name[8:]}") if name.startswith("windows") and name[8:].isdigit() else None


def _note_attachments(builder: TextBuilder, names: list[str]) -> None:
    if names:
        shown = f"{', '.join(names[:10])}{' …' if len(names) > 10 else ''}"
        builder.notes.append(Remark("note_attachments", {"names": shown}))


def _add_rtf(builder: TextBuilder, content: bytes) -> str:
    from striprtf.striprtf import rtf_to_text

    # Line ends mean nothing in RTF; striprtf searches each line of the table of fonts in quadratic time.
    lines = content.replace(b";}", b";}\n").decode("latin-1")
    text = rtf_to_text(lines, encoding="cp1252", errors="replace")  # type: ignore[no-untyped-call]
    for paragraph in text.split("\n"):
        builder.paragraph(paragraph)
    return ""
