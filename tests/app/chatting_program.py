"""python -m tests.app.chatting_program FOLDER: chat, branch, rename, delete; say what is acknowledged.

The tests that let a system call fail, or end the program there, run this. The exit status is 3 where it ends with a
sentence.
"""

import json
import sys
from pathlib import Path
from typing import Any

from app.conversation_rows import Said, State
from app.conversations import Conversations
from app.preference_rows import Origin
from core.errors import AssistantError

CHECKPOINT_PAGES = 24  # a small file would fill no log of the usual 1,000
OWN = Origin("starter")
WORDS = [f"word{number} 字{number}" for number in range(40)]


def tell(what: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"what": what, **values}) + "\n")
    sys.stdout.flush()


def stream(chats: Conversations, name: str, question: int) -> int:
    """An answer that grows."""
    answer = chats.add(name, "assistant", Said(WORDS[0], origin=OWN), parent_id=question, state=State.PARTIAL)
    tell("partial", conversation=name, message=answer, content=WORDS[0])
    for count in (10, 20, 30):
        text = " ".join(WORDS[:count])
        chats.save(name, answer, Said(text, origin=OWN))
        tell("partial", conversation=name, message=answer, content=text)
    text = " ".join(WORDS)
    chats.save(name, answer, Said(text, origin=OWN), State.COMPLETE)
    tell("complete", conversation=name, message=answer, content=text)
    return answer


def main(folder: Path) -> None:
    chats = Conversations(folder)
    with chats._database.write() as connection:
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    for number in range(2):
        name = chats.create().id
        question = chats.add(name, "user", Said(f"question {number}"), parent_id=None)
        tell("complete", conversation=name, message=question, content=f"question {number}")
        for _ in range(2):
            stream(chats, name, question)
        chats.turn(name, chats.path(name)[-1].id, 1)
        chats.change(name, title=f"title {number}", pinned=True)
        tell("titled", conversation=name, title=f"title {number}")
    chats.delete(name)
    tell("deleted", conversation=name)
    chats.close()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except AssistantError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(3)
