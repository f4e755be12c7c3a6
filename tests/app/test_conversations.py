"""The tree of messages: versions, branches, what a crash leaves, and what the search finds."""

import sqlite3
from pathlib import Path

import pytest

from app.conversation_rows import Kind, Said, State, title_of, turns
from app.conversation_schema import CONVERSATIONS, FILE, MIGRATIONS
from app.conversations import Conversations
from app.preference_rows import Origin
from core.errors import DataError

RELEASED = Path(__file__).parent / "released"
STARTER = Origin("starter", "ab12", "int8", "run-1", {"temperature": 0.5})


@pytest.fixture
def chats(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path)


def say(chats: Conversations, name: str, *texts: str) -> list[int]:
    """Questions and answers in turn, below what is shown; their ids."""
    ids = []
    for text in texts:
        path = chats.path(name)
        role = "assistant" if path and path[-1].role == "user" else "user"
        ids.append(chats.add(name, role, Said(text), parent_id=path[-1].id if path else None))
    return ids


def shown(chats: Conversations, name: str) -> list[str]:
    return [message.content for message in chats.path(name)]


def test_what_was_said_is_there_after_a_restart(chats: Conversations, tmp_path: Path) -> None:
    name = chats.create(persona="Tutor", collections=["手册"]).id
    (question,) = say(chats, name, "  Who are you?\nReally. ")
    said = Said("AstrAI\0 😀 \u202e", origin=STARTER, sources="[1]", details={"prompt": ["a", 1, None]})
    chats.add(name, "assistant", said, parent_id=question)
    chats.close()
    after = Conversations(tmp_path)
    conversation = after.get(name)
    assert (conversation.title, conversation.persona, conversation.collections) == (
        "Who are you? Really.",
        "Tutor",
        ("手册",),
    )
    first, second = after.path(name)
    assert (first.content, second.said, second.state) == ("  Who are you?\nReally. ", said, State.COMPLETE)


def test_another_answer_is_a_version_and_each_keeps_what_followed_it(chats: Conversations) -> None:
    name = chats.create().id
    question, first, _, _ = say(chats, name, "q", "a1", "q2", "a2")
    second = chats.add(name, "assistant", Said("a1'"), parent_id=question)
    assert shown(chats, name) == ["q", "a1'"]
    assert [(message.version, message.num_versions) for message in chats.path(name)] == [(1, 1), (2, 2)]
    chats.turn(name, second, -1)
    assert shown(chats, name) == ["q", "a1", "q2", "a2"]
    chats.turn(name, first, -1)
    assert shown(chats, name) == ["q", "a1'"]
    assert [message.id for message in chats.versions(name, first)] == [first, second]


def test_another_wording_of_the_first_question_begins_a_second_tree(chats: Conversations) -> None:
    name = chats.create().id
    question, _ = say(chats, name, "q", "a")
    other = chats.add(name, "user", Said("Q"), parent_id=None)
    assert shown(chats, name) == ["Q"]
    chats.turn(name, other, 1)
    assert shown(chats, name) == ["q", "a"]
    chats.show(name, question)
    assert shown(chats, name) == ["q"]


def test_an_answer_is_stored_while_it_is_written_and_interrupted_where_its_program_ended(
    chats: Conversations, tmp_path: Path
) -> None:
    name = chats.create().id
    (question,) = say(chats, name, "Tell me of otters")
    answer = chats.add(name, "assistant", Said("An"), parent_id=question, state=State.PARTIAL)
    chats.save(name, answer, Said("An otter swims"))
    chats._database._lock.release()  # as the end of a program does
    after = Conversations(tmp_path)
    assert [(message.content, message.state) for message in after.path(name)][1:] == [
        ("An otter swims", State.INTERRUPTED)
    ]
    assert [found.message_id for found in after.search("otter swims")] == [answer]
    after.save(name, answer, Said("An otter swims well.", origin=STARTER), State.COMPLETE)
    assert (after.path(name)[-1].state, after.path(name)[-1].said.origin) == (State.COMPLETE, STARTER)
    assert [found.message_id for found in after.search("swims well")] == [answer]


def test_an_answer_without_a_word_goes_and_the_question_stays(chats: Conversations) -> None:
    name = chats.create().id
    (question,) = say(chats, name, "q")
    answer = chats.add(name, "assistant", Said(""), parent_id=question, state=State.PARTIAL)
    chats.remove(name, question)  # something follows it
    chats.remove(name, answer)
    assert (shown(chats, name), chats.get(name).leaf) == (["q"], question)


def test_a_notice_and_its_question_are_not_told_to_the_model_and_make_room(chats: Conversations) -> None:
    name = chats.create().id
    (question,) = say(chats, name, "too long")
    chats.add(name, "assistant", Said("It is too long.", Kind.NOTICE), parent_id=question)
    say(chats, name, "short", "yes")
    assert turns(chats.path(name)) == [
        {"role": "user", "content": "short"},
        {"role": "assistant", "content": "yes"},
    ]
    chats.show(name, question)
    chats.add(name, "assistant", Said("still"), parent_id=question)
    assert chats.path(name)[-1].num_versions == 2  # the notice stays: something follows it
    chats.add(name, "assistant", Said("?", Kind.NOTICE), parent_id=question)
    chats.add(name, "assistant", Said("now"), parent_id=question)
    assert [message.content for message in chats.versions(name, chats.path(name)[-1].id)] == [
        "It is too long.",
        "still",
        "now",
    ]


def test_titles_and_texts_are_found_in_both_languages_and_both_scripts(chats: Conversations) -> None:
    zoo, code = chats.create(title="动物园").id, chats.create().id
    say(chats, zoo, "大熊猫住在四川的竹林里", "牠每天吃很多竹子")
    say(chats, code, "How do I sort a list?", "Use sorted(), it keeps equal elements in order.")
    for text, names in {
        "熊貓": [zoo],
        "動物園": [zoo],
        "它每天吃": [],
        "每天": [zoo],
        "sorting": [code],
        "SORT lis": [code],
        "四": [zoo],
        "elements otter": [],
        "": [],
        '" OR *': [],
    }.items():
        assert [found.conversation.id for found in chats.search(text)] == names, text
    (found,) = chats.search("equal elements")
    assert "it keeps equal elements" in found.excerpt
    assert chats.search("動物園")[0].message_id is None
    chats.change(zoo, title="Zoo")
    assert chats.search("動物園") == []


def test_the_trash_gives_back_and_is_not_searched(chats: Conversations) -> None:
    name = chats.create().id
    say(chats, name, "otter")
    chats.delete(name)
    assert (chats.find(name), chats.all(), chats.search("otter")) == (None, [], [])
    with pytest.raises(DataError, match="not there any more"):
        say(chats, name, "more")
    assert chats.undelete(name).title == "otter"
    assert [found.conversation.id for found in chats.search("otter")] == [name]


def test_the_trash_is_emptied_after_a_week(chats: Conversations, tmp_path: Path) -> None:
    name = chats.create().id
    say(chats, name, "otter", "fish")
    chats.delete(name)
    with chats._database.write() as connection:
        connection.execute("UPDATE conversations SET deleted = deleted - 8 * 86400")
    chats.close()
    with Conversations(tmp_path)._database.read() as connection:
        for table in ("conversations", "messages", "message_terms", "title_terms"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_a_temporary_conversation_is_never_written(chats: Conversations, tmp_path: Path) -> None:
    name = chats.create(is_temporary=True).id
    say(chats, name, "secret otter", "a")
    assert (shown(chats, name), chats.get(name).is_temporary) == (["secret otter", "a"], True)
    assert chats.all() == []
    assert all(b"secret otter" not in file.read_bytes() for file in tmp_path.rglob("*.*"))
    chats.delete(name)
    assert chats.find(name) is None
    last = [chats.create(is_temporary=True).id for _ in range(30)]
    assert (chats.find(last[0]), chats.get(last[-1]).id) == (None, last[-1])


def test_the_last_messages_of_a_long_conversation_are_read_alone(chats: Conversations) -> None:
    name = chats.create().id
    ids = say(chats, name, *map(str, range(40)))
    assert [message.id for message in chats.path(name, limit=6)] == ids[-6:]
    assert [message.id for message in chats.path(name, leaf=ids[4])] == ids[:5]
    assert len(chats.path(name)) == 40


def test_names_are_one_line_and_bounded(chats: Conversations) -> None:
    changed = chats.change(chats.create().id, title="a\nb" + "c" * 999, folder=" x\t", pinned=True)
    assert (changed.title[:4], len(changed.title), changed.folder, changed.pinned) == ("a bc", 200, "x", True)
    assert title_of("word " * 30) == "word word word word word word word word word…"
    assert title_of("字" * 60) == "字" * 24 + "…"
    assert title_of(" short\n one ") == "short one"


def test_messages_of_another_conversation_are_out_of_reach(chats: Conversations) -> None:
    one, other = chats.create().id, chats.create().id
    (question,) = say(chats, one, "q")
    for refused in (
        lambda: chats.show(other, question),
        lambda: chats.message(other, question),
        lambda: chats.add(other, "assistant", Said("a"), parent_id=question),
    ):
        with pytest.raises(DataError, match=f"no message {question}"):
            refused()
    chats.save(other, question, Said("forged"))
    assert shown(chats, one) == ["q"]


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_what_every_released_format_holds_is_read(version: int, tmp_path: Path) -> None:
    """`released/conversations-N.sql` is a file of format N as its program wrote it; it never changes."""
    script = (RELEASED / f"conversations-{version}.sql").read_text(encoding="utf-8")
    connection = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    connection.executescript(script)
    connection.close()
    chats = Conversations(tmp_path)
    (name,) = (one.id for one in chats.all())
    assert shown(chats, name) == ["大熊猫住在哪里？", "In Sichuan."]
    assert chats.path(name)[-1].said.origin == STARTER
    assert [found.conversation.id for found in chats.search("熊貓")] == [name]
    say(chats, name, "And otters?")
    copies = list((tmp_path / "backups").glob("conversations-format-*"))
    assert len(copies) == (version < len(MIGRATIONS))


def test_the_file_is_copied_once_a_day_and_seven_copies_stay(chats: Conversations, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in range(1, 10):
        (folder / f"conversations-2020-01-0{day}.db").touch()
    name = chats.create().id
    assert len(list(folder.iterdir())) == 9
    chats.close()
    say(chats, name, "q", "a")
    copies = sorted(folder.iterdir())
    assert len(copies) == CONVERSATIONS.num_backups
    assert copies[0].name == "conversations-2020-01-04.db"
    assert copies[-1].stat().st_mode & 0o77 == 0
    copy = sqlite3.connect(copies[-1])
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()
