"""What the user prefers, in SQLite: rated answers, pairs of a better and a worse one, votes between versions.

An answer is stored when it is rated, corrected, picked, ranked or voted on, never because it was shown. A pair is
found once, whatever it came from; the opposite of an earlier pair replaces it. Thumbs make pairs as soon as one answer
to a question has one up and another one down.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from app.preference_rows import (
    ACCEPTED,
    MAX_RANKED,
    Answer,
    Counts,
    Origin,
    Pair,
    Review,
    Source,
    Tally,
    conversation,
    prompt_hash,
)
from core.database import Database, Schema
from core.errors import DataError

FILE = "preferences.db"
UP, DOWN = 1, -1
VOTES = ("new", "old", "tie")
_MIGRATIONS = (
    """
    CREATE TABLE answers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        prompt TEXT NOT NULL,
        messages TEXT NOT NULL,
        text TEXT NOT NULL,
        origin TEXT NOT NULL,
        rating INTEGER NOT NULL DEFAULT 0,
        time REAL NOT NULL,
        UNIQUE (prompt, text)
    );
    CREATE INDEX answers_by_rating ON answers (rating) WHERE rating != 0;
    CREATE TABLE pairs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        chosen_id INTEGER NOT NULL REFERENCES answers,
        rejected_id INTEGER NOT NULL REFERENCES answers,
        source TEXT NOT NULL,
        review TEXT NOT NULL,
        time REAL NOT NULL,
        UNIQUE (chosen_id, rejected_id)
    );
    CREATE INDEX pairs_by_rejected ON pairs (rejected_id);
    CREATE TABLE votes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        base TEXT NOT NULL,
        old TEXT NOT NULL,
        new TEXT NOT NULL,
        old_answer_id INTEGER NOT NULL REFERENCES answers,
        new_answer_id INTEGER NOT NULL REFERENCES answers,
        vote TEXT NOT NULL,
        new_was_first INTEGER NOT NULL,
        time REAL NOT NULL
    );
    CREATE INDEX votes_by_versions ON votes (base, old, new);
    """,
)
PREFERENCES = Schema(
    name="store of preferences",
    migrations=_MIGRATIONS,
    busy_remedy="Rate answers in that one, or close it.",
    damaged_remedy="Move it away and put the newest copy out of the folder backups in its place.",
    num_backups=7,
)
_PAIRS = """
    SELECT p.id, c.messages, c.text, c.origin, r.text, r.origin, p.source, p.review, p.time
    FROM pairs p JOIN answers c ON c.id = p.chosen_id JOIN answers r ON r.id = p.rejected_id
"""
_RATINGS = """
    SELECT rating, count(*),
        sum(NOT EXISTS (SELECT 1 FROM answers o WHERE o.prompt = a.prompt AND o.rating = -a.rating))
    FROM answers a WHERE rating != 0 GROUP BY rating
"""
_NUM_PROMPTS = """
    SELECT count(DISTINCT a.prompt) FROM pairs p JOIN answers a ON a.id = p.chosen_id
    WHERE p.review IN (?, ?)
"""


class Preferences:
    """The preferences of one user."""

    def __init__(self, folder: Path) -> None:
        """The file is opened when it is first asked for."""
        self._path, self._opening = folder / FILE, threading.Lock()
        self._opened: Database | None = None

    @property
    def _database(self) -> Database:
        with self._opening:
            if self._opened is None:
                self._opened = Database(self._path, PREFERENCES)
            return self._opened

    def close(self) -> None:
        with self._opening:
            if self._opened is not None:
                self._opened.close()

    # Collecting. `messages` are the conversation up to the question.

    def rate(self, messages: Sequence[Mapping[str, Any]], answer: Answer, rating: int) -> None:
        """Thumb up (1), down (-1), or neither (0). Takes back what pairs an earlier thumb made, unless reviewed."""
        assert rating in (UP, 0, DOWN), rating
        with self._database.write() as connection:
            id_ = _answer_id(connection, messages, answer)
            connection.execute(
                "DELETE FROM pairs WHERE ? IN (chosen_id, rejected_id) AND source = ? AND review = ?",
                (id_, Source.RATING, Review.NEW),
            )
            connection.execute("UPDATE answers SET rating = ? WHERE id = ?", (rating, id_))
            if rating:
                rivals = connection.execute(
                    "SELECT o.id FROM answers o JOIN answers a ON a.id = ? WHERE o.prompt = a.prompt AND o.rating = ?",
                    (id_, -rating),
                ).fetchall()
                for (rival,) in rivals:
                    chosen, rejected = (id_, rival) if rating == UP else (rival, id_)
                    _add_pair(connection, chosen, rejected, Source.RATING)
            _drop_orphans(connection)

    def correct(self, messages: Sequence[Mapping[str, Any]], original: Answer, text: str) -> int:
        """The user's own wording is better than the original; the number of new pairs."""
        return self._prefer(messages, [Answer(text), original], Source.EDIT)

    def pick(self, messages: Sequence[Mapping[str, Any]], chosen: Answer, others: Iterable[Answer]) -> int:
        """One version is better than each of the others; the number of new pairs."""
        rivals = [answer for answer in others if answer.text != chosen.text]
        with self._database.write() as connection:
            best = _answer_id(connection, messages, chosen)
            return sum(
                _add_pair(connection, best, _answer_id(connection, messages, one), Source.VERSION) for one in rivals
            )

    def rank(self, messages: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> int:
        """Two to six answers, best first: each is better than all after it. The number of new pairs.

        Raises: DataError for another number of answers, or equal ones.
        """
        if not 2 <= len(answers) <= MAX_RANKED:
            raise DataError(
                "{count} answers cannot be ranked.", "Rank 2 to {most}.", count=len(answers), most=MAX_RANKED
            )
        if len({answer.text for answer in answers}) < len(answers):
            raise DataError("Two of these answers are equal.", "Leave one of them out.")
        return self._prefer(messages, answers, Source.RANKING)

    def ratings(self, conversations: Iterable[tuple[Sequence[Mapping[str, Any]], str]]) -> list[int]:
        """The rating of each answer, 0 for one that has none."""
        with self._database.read() as connection:
            sql = "SELECT rating FROM answers WHERE prompt = ? AND text = ?"
            found = [
                connection.execute(sql, (prompt_hash(conversation(messages)), text)).fetchone()
                for messages, text in conversations
            ]
        return [row[0] if row else 0 for row in found]

    # Reviewing

    def pairs(
        self,
        reviews: Iterable[Review] = tuple(Review),
        *,
        sources: Iterable[Source] = tuple(Source),
        limit: int = -1,
        offset: int = 0,
    ) -> list[Pair]:
        """Pairs in these states and from these sources, newest first; all of them without `limit`."""
        states, origins = list(reviews), list(sources)
        condition = f"WHERE p.review IN ({_marks(states)}) AND p.source IN ({_marks(origins)})"
        with self._database.read() as connection:
            rows = connection.execute(
                f"{_PAIRS} {condition} ORDER BY p.id DESC LIMIT ? OFFSET ?", (*states, *origins, limit, offset)
            ).fetchall()
        return [_pair(row) for row in rows]

    def review(self, ids: Iterable[int], review: Review) -> None:
        """Keep pairs, reject them, or make them new again."""
        with self._database.write() as connection:
            connection.executemany("UPDATE pairs SET review = ? WHERE id = ?", [(review, id_) for id_ in ids])

    def edit(self, pair_id: int, *, chosen: str, rejected: str) -> None:
        """Other wordings for a pair, which is accepted with them. Raises DataError for empty or equal ones."""
        if not chosen.strip() or not rejected.strip() or chosen == rejected:
            raise DataError("A pair needs two different answers.", "Write a better and a worse one.")
        with self._database.write() as connection:
            row = connection.execute(f"{_PAIRS} WHERE p.id = ?", (pair_id,)).fetchone()
            if row is None:
                raise DataError("There is no pair {number}.", "It was deleted: look at the list again.", number=pair_id)
            pair = _pair(row)
            better, worse = (
                _answer_id(connection, pair.messages, old if old.text == new else Answer(new))
                for old, new in ((pair.chosen, chosen), (pair.rejected, rejected))
            )
            connection.execute("DELETE FROM pairs WHERE id = ?", (pair_id,))
            _add_pair(connection, better, worse, pair.source, review=Review.EDITED, time_s=pair.time)
            _drop_orphans(connection)

    def delete(self, ids: Iterable[int]) -> None:
        """Forget pairs, and answers that are in no other and have no rating."""
        with self._database.write() as connection:
            connection.executemany("DELETE FROM pairs WHERE id = ?", [(id_,) for id_ in ids])
            _drop_orphans(connection)

    def add(self, pairs: Iterable[Pair]) -> tuple[int, int]:
        """Take pairs over from elsewhere, as they are; how many were new, and how many contradict one that is here.

        What is here stays as it is.
        """
        num_new = num_opposite = 0
        with self._database.write() as connection:
            for pair in pairs:
                better, worse = (_answer_id(connection, pair.messages, one) for one in (pair.chosen, pair.rejected))
                if _has_pair(connection, worse, better):
                    num_opposite += 1
                else:
                    num_new += _add_pair(connection, better, worse, pair.source, review=pair.review, time_s=pair.time)
        return num_new, num_opposite

    def counts(self) -> Counts:
        with self._database.read() as connection:
            reviews = dict(connection.execute("SELECT review, count(*) FROM pairs GROUP BY review").fetchall())
            sources = dict(connection.execute("SELECT source, count(*) FROM pairs GROUP BY source").fetchall())
            ratings = connection.execute(_RATINGS).fetchall()
            (num_prompts,) = connection.execute(_NUM_PROMPTS, ACCEPTED).fetchone()
        thumbs = {rating: (count, alone) for rating, count, alone in ratings}
        (num_up, up_alone), (num_down, down_alone) = thumbs.get(UP, (0, 0)), thumbs.get(DOWN, (0, 0))
        return Counts(
            by_review={state: reviews.get(state, 0) for state in Review},
            by_source={source: sources.get(source, 0) for source in Source},
            num_up=num_up,
            num_down=num_down,
            num_up_alone=up_alone,
            num_down_alone=down_alone,
            num_prompts_accepted=num_prompts,
        )

    def liked(self) -> list[tuple[list[dict[str, str]], str]]:
        """Conversations and answers with a thumb up, newest first."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT messages, text FROM answers WHERE rating = 1 ORDER BY id DESC").fetchall()
        return [(json.loads(messages), text) for messages, text in rows]

    # Votes between two versions of a model

    def vote(
        self,
        versions: tuple[str, str, str],
        messages: Sequence[Mapping[str, Any]],
        *,
        old: Answer,
        new: Answer,
        vote: str,
        new_was_first: bool,
    ) -> None:
        """Store a vote, `new`, `old` or `tie`, between `versions`: (base, old, new). Without a tie it is a pair too."""
        assert vote in VOTES, vote
        with self._database.write() as connection:
            old_id, new_id = (_answer_id(connection, messages, answer) for answer in (old, new))
            connection.execute(
                "INSERT INTO votes (base, old, new, old_answer_id, new_answer_id, vote, new_was_first, time)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*versions, old_id, new_id, vote, new_was_first, time.time()),
            )
            if vote != "tie":
                better, worse = (new_id, old_id) if vote == "new" else (old_id, new_id)
                _add_pair(connection, better, worse, Source.AB)

    def tally(self, versions: tuple[str, str, str]) -> Tally:
        """The votes between (base, old, new)."""
        with self._database.read() as connection:
            counts = dict(
                connection.execute(
                    "SELECT vote, count(*) FROM votes WHERE base = ? AND old = ? AND new = ? GROUP BY vote", versions
                ).fetchall()
            )
        return Tally(counts.get("new", 0), counts.get("old", 0), counts.get("tie", 0))

    def _prefer(self, messages: Sequence[Mapping[str, Any]], answers: Sequence[Answer], source: Source) -> int:
        with self._database.write() as connection:
            ids = [_answer_id(connection, messages, answer) for answer in answers]
            return sum(_add_pair(connection, better, worse, source) for better, worse in combinations(ids, 2))


def _answer_id(connection: sqlite3.Connection, messages: Sequence[Mapping[str, Any]], answer: Answer) -> int:
    """The id of an answer, stored now if it was not. Raises DataError for an empty one."""
    if not answer.text.strip():
        raise DataError("An empty answer teaches nothing.", "Write what the model should have said.")
    turns = conversation(messages)
    key = (prompt_hash(turns), answer.text)
    connection.execute(
        "INSERT OR IGNORE INTO answers (prompt, text, messages, origin, time) VALUES (?, ?, ?, ?, ?)",
        (*key, json.dumps(turns, ensure_ascii=False), answer.origin.to_json(), time.time()),
    )
    return int(connection.execute("SELECT id FROM answers WHERE prompt = ? AND text = ?", key).fetchone()[0])


def _has_pair(connection: sqlite3.Connection, chosen_id: int, rejected_id: int) -> bool:
    found = connection.execute(
        "SELECT 1 FROM pairs WHERE chosen_id = ? AND rejected_id = ?", (chosen_id, rejected_id)
    ).fetchone()
    return found is not None


def _add_pair(
    connection: sqlite3.Connection,
    chosen_id: int,
    rejected_id: int,
    source: Source,
    *,
    review: Review = Review.NEW,
    time_s: float | None = None,
) -> bool:
    """Whether the pair is new. Its opposite goes: the user has changed their mind. Equal answers are no pair."""
    if chosen_id == rejected_id:
        return False
    connection.execute("DELETE FROM pairs WHERE chosen_id = ? AND rejected_id = ?", (rejected_id, chosen_id))
    cursor = connection.execute(
        "INSERT OR IGNORE INTO pairs (chosen_id, rejected_id, source, review, time) VALUES (?, ?, ?, ?, ?)",
        (chosen_id, rejected_id, source, review, time.time() if time_s is None else time_s),
    )
    return cursor.rowcount > 0


def _drop_orphans(connection: sqlite3.Connection) -> None:
    """Forget answers that have no rating, no pair and no vote."""
    connection.execute(
        """
        DELETE FROM answers WHERE rating = 0
            AND id NOT IN (SELECT chosen_id FROM pairs) AND id NOT IN (SELECT rejected_id FROM pairs)
            AND id NOT IN (SELECT old_answer_id FROM votes) AND id NOT IN (SELECT new_answer_id FROM votes)
        """
    )


def _pair(row: tuple[Any, ...]) -> Pair:
    id_, messages, chosen, chosen_origin, rejected, rejected_origin, source, review, time_s = row
    return Pair(
        id=id_,
        messages=json.loads(messages),
        chosen=Answer(chosen, Origin.from_dict(json.loads(chosen_origin))),
        rejected=Answer(rejected, Origin.from_dict(json.loads(rejected_origin))),
        source=Source(source),
        review=Review(review),
        time=time_s,
    )


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
