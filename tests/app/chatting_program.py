"""A chat in a folder: questions, growing answers and their versions, a name, the trash; it says what is acknowledged.

The tests that let a system call fail, or end the program there, run this.
"""

import os
from pathlib import Path

from app.conversation_rows import Said, State
from app.conversations import Conversations
from app.preference_rows import Origin

CHECKPOINT_PAGES = 24  # a small file would fill no log of the usual 1,000
OWN = Origin("starter")
NUM_WORDS = 40


def text(num_words: int) -> str:
    """An answer as far as it came."""
    return " ".join(f"word{number} 字{number}" for number in range(num_words))


def say(*words: object) -> None:
    """Acknowledge something: it must outlive whatever comes."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def answer(chats: Conversations, name: str, question: int) -> None:
    """An answer that grows."""
    id_ = chats.add(name, "assistant", Said(text(1), origin=OWN), parent_id=question, state=State.PARTIAL)
    say("partial", name, id_, 1)
    for num_words in (10, 20, 30):
        chats.save(name, id_, Said(text(num_words), origin=OWN))
        say("partial", name, id_, num_words)
    chats.save(name, id_, Said(text(NUM_WORDS), origin=OWN), State.COMPLETE)
    say("complete", name, id_, NUM_WORDS)


def main(folder: Path) -> None:
    """Raises AssistantError where the disk does not take it."""
    chats = Conversations(folder)
    with chats._database.write() as connection:
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    for number in range(1, 3):
        name = chats.create().id
        question = chats.add(name, "user", Said(text(number)), parent_id=None)
        say("complete", name, question, number)
        for _ in range(2):
            answer(chats, name, question)
        chats.turn(name, chats.path(name)[-1].id, 1)
        chats.change(name, title=f"title {number}", pinned=True)
        say("titled", name, number)
    chats.delete(name)
    say("deleted", name)
    chats.close()
