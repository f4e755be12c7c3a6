"""What the search over conversations finds: the library's terms of titles and messages, and the words around a hit."""

import sqlite3

from app.conversation_rows import Kind, Said

MAX_INDEXED_CHARS = 100_000  # of one message
EXCERPT_CHARS = 90


def matching(text: str) -> str:
    """The pattern of FTS5 for all words of a text, of which the last may go on; empty without any."""
    from rag.text import terms

    found = terms(text[:1000])
    quoted = [f'"{term}"' for term in dict.fromkeys(found)]
    return f"{' '.join(quoted)} *" if quoted and _goes_on(text, found[-1]) else " ".join(quoted)


def index_message(connection: sqlite3.Connection, message_id: int, said: Said) -> None:
    """Let the search find a message as it reads now; notices are not searched."""
    from rag.text import terms

    unindex(connection, [message_id])
    if said.kind is Kind.SAID:
        values = (message_id, " ".join(terms(said.content[:MAX_INDEXED_CHARS])))
        connection.execute("INSERT INTO message_terms (rowid, terms) VALUES (?, ?)", values)


def unindex(connection: sqlite3.Connection, message_ids: list[int]) -> None:
    connection.executemany("DELETE FROM message_terms WHERE rowid = ?", [(id_,) for id_ in message_ids])


def index_title(connection: sqlite3.Connection, number: int, title: str) -> None:
    """Let the search find a conversation by its title as it reads now."""
    from rag.text import terms

    connection.execute("DELETE FROM title_terms WHERE rowid = ?", (number,))
    connection.execute("INSERT INTO title_terms (rowid, terms) VALUES (?, ?)", (number, " ".join(terms(title))))


def excerpt(content: str, text: str) -> str:
    """The words around the first hit of a search in a message, on one line."""
    from rag.text import fold

    line = " ".join(content.split())
    folded = fold(line)
    words = [text.strip(), *text.split()]
    places = [place for word in words if (place := folded.find(fold(word))) >= 0]
    start = max(0, places[0] - EXCERPT_CHARS // 3) if places and len(folded) == len(line) else 0
    end = start + EXCERPT_CHARS
    return f"{'…' if start else ''}{line[start:end]}{'…' if end < len(line) else ''}"


def _goes_on(text: str, last: str) -> bool:
    """Whether the last word may be unfinished: a pair of Chinese characters is whole, one of them begins pairs."""
    from rag.text import is_han

    return text[-1:].isalnum() and (len(last) == 1 or not is_han(last[0]))
