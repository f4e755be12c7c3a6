"""`python -m app.checkpoint_program REQUEST.json`: one prompt to checkpoints of a run, each opened and closed again.

The request is {"folders": [checkpoints, in order], "prompt", "seed", "max_new_tokens", "is_plain": go on with the text
instead of answering}. Each answer is one JSON line on stdout: {"folder", "text", "is_error"}. It ends when its stdin
does: nobody waits for it any more.
"""

import os
import sys
import threading
from contextlib import closing
from pathlib import Path

from core.errors import AssistantError
from core.files import read_json_object
from core.parallel.program import print_row


def main() -> int:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    request = read_json_object(Path(sys.argv[1]))
    options = {"seed": request["seed"], "max_new_tokens": request["max_new_tokens"]}
    for folder in request["folders"]:
        try:
            text, is_error = answer(Path(folder), request["prompt"], options, is_plain=request["is_plain"]), False
        except AssistantError as exc:
            text, is_error = str(exc), True
        print_row({"folder": folder, "text": text, "is_error": is_error})
    return 0


def answer(folder: Path, prompt: str, options: dict[str, int], *, is_plain: bool) -> str:
    """Open a checkpoint, ask it (or let it continue the prompt), close it. A run that goes on may delete it."""
    import core

    with closing(core.load(folder, max_running=1)) as model:
        if is_plain:
            return str(model.stream(prompt, **options).read())
        return str(model.chat([{"role": "user", "content": prompt}], **options).read())


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
