"""JSON and subtitles → lines of text."""

import json
import re
from collections.abc import Iterator
from typing import Any

from rag.documents import ParsedDocument
from rag.parsing.encodings import decode
from rag.parsing.kinds import Source
from rag.parsing.text_builder import TextBuilder, clean
from rag.remarks import Remark

CUE_TIME = re.compile(r"^\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s+-->")
CUE_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,100}>|\{\\[^{}]{0,100}\}")
CUES_PER_PARAGRAPH = 8


def read(source: Source, kind: str) -> ParsedDocument:
    """The text of a JSON or subtitle file. Raises: DocumentError; RecursionError when it is nested too deep."""
    text, note = decode(source.content)
    builder = TextBuilder(source.limits.num_characters)
    builder.notes += [note] if note else []
    if kind == "json":
        _add_json(builder, clean(text), source.suffix)
    else:
        _add_cues(builder, clean(text))
    return builder.build(kind, source.stem)


def _add_json(builder: TextBuilder, text: str, suffix: str) -> None:
    try:
        values = [json.loads(text)]
    except ValueError as exc:
        values = _json_lines(text)
        if not values:
            builder.notes.append(Remark("note_json", {"reason": str(exc)}))
            builder.verbatim(text)
            return
    if suffix == ".ipynb" and isinstance(values[0], dict) and isinstance(values[0].get("cells"), list):
        for cell in values[0]["cells"]:
            source = cell.get("source", "") if isinstance(cell, dict) else ""
            builder.paragraph("".join(map(str, source)) if isinstance(source, list) else str(source))
        return
    records = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    for record in records:
        builder.paragraph("\n".join(_flat(record, "")))


def _json_lines(text: str) -> list[Any]:
    """The values of a file with one on each line; none when a line is broken."""
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError:
        return []


def _flat(value: Any, path: str) -> Iterator[str]:
    """`a.b: value` for every leaf; the values of a list of plain ones share a line."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for inner in value:
            yield from _flat(inner, path)
    else:
        words = ", ".join(map(_word, value)) if isinstance(value, list) else _word(value)
        yield f"{path}: {words}" if path else words


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _add_cues(builder: TextBuilder, text: str) -> None:
    """What is said, without numbers and times; some cues make a paragraph."""
    said: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.strip().split("\n")
        times = [i for i, line in enumerate(lines) if CUE_TIME.match(line)]
        if not times:
            continue
        words = " ".join(CUE_TAG.sub("", line).strip() for line in lines[times[0] + 1 :]).strip()
        if words and (not said or words != said[-1]):
            said.append(words)
        if len(said) == CUES_PER_PARAGRAPH:
            builder.paragraph("\n".join(said))
            said = []
    builder.paragraph("\n".join(said))
