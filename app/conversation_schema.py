"""The conversations' SQLite file: what it holds."""

from core.database import Schema

FILE = "conversations.db"
NUM_BACKUPS = 7

# Terms come folded, with spaces between them, as in the library: FTS5's tokenizer has only to split there. Versions
# are messages with the same parent; those without one begin the conversation.
MIGRATIONS = (
    """
    CREATE TABLE conversations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        pinned INTEGER NOT NULL DEFAULT 0,
        folder TEXT NOT NULL DEFAULT '',
        persona TEXT NOT NULL DEFAULT '',
        collections TEXT NOT NULL DEFAULT '[]',
        leaf INTEGER,
        deleted REAL
    );
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        parent_id INTEGER REFERENCES messages ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        content TEXT NOT NULL,
        created REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('complete', 'partial', 'interrupted')),
        kind TEXT NOT NULL CHECK (kind IN ('said', 'notice', 'refusal')),
        origin TEXT,
        sources TEXT NOT NULL DEFAULT '',
        details TEXT NOT NULL DEFAULT '{}'
    );
    CREATE INDEX messages_by_parent ON messages (conversation_id, parent_id);
    CREATE INDEX messages_by_parent_alone ON messages (parent_id);
    CREATE INDEX messages_unfinished ON messages (state) WHERE state = 'partial';
    CREATE VIRTUAL TABLE message_terms USING fts5 (terms, tokenize = 'unicode61 remove_diacritics 0');
    CREATE VIRTUAL TABLE title_terms USING fts5 (terms, tokenize = 'unicode61 remove_diacritics 0');
    """,
)
CONVERSATIONS = Schema(
    "store of conversations",
    MIGRATIONS,
    busy_remedy="Chat in that one, or close it.",
    damaged_remedy="Move it away and put the newest copy out of the folder backups in its place, as conversations.db.",
    num_backups=NUM_BACKUPS,
)
