"""The process that reads documents: `python -m rag.parsing.child LIMITS`, started by `rag.parsing.sandbox`.

The files come through standard input; it opens none, reaches no network and writes nothing (`confine`). When its
standard input closes the parent has gone, and so does this.
"""

import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from rag.documents import Box, ParsedDocument
from rag.parsing.confine import confine, limit_cpu
from rag.parsing.kinds import Source
from rag.parsing.limits import Limits
from rag.parsing.ocr import find_tesseract
from rag.parsing.reader import read_document
from rag.remarks import RefusedError, Remark

OUR_FAULTS = (AssertionError, ImportError, NameError, PermissionError)
MAX_WORDS = 120

Request = tuple[dict[str, Any], bytes]


def main() -> None:
    """Serve requests until the parent ends, or memory does."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this
    limits = Limits(**json.loads(sys.argv[1]))
    requests: queue.Queue[Request] = queue.Queue()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    sys.modules["numpy"] = None  # type: ignore[assignment] # openpyxl would load it, for 60 MB and no use
    confine(limits, find_tesseract())
    # After that, for the kernel's filter is one of a thread and those it starts.
    threading.Thread(target=_receive, args=(requests,), daemon=True).start()
    while True:
        request, content = requests.get()
        limit_cpu(request["cpu_s"])
        header, answer = _answer(request, Source(request["name"], content, limits))
        answers.write(json.dumps(header).encode() + b"\n" + answer)
        answers.flush()


def _receive(requests: "queue.Queue[Request]") -> None:
    stdin = sys.stdin.buffer
    while line := stdin.readline():
        request = json.loads(line)
        content = stdin.read(request["size"])
        if len(content) == request["size"]:
            requests.put((request, content))
    os._exit(1)


def _answer(request: dict[str, Any], source: Source) -> tuple[dict[str, Any], bytes]:
    """Header and body of the answer to a request, an error among them."""
    try:
        answer = _work(request, source)
    except RefusedError as exc:
        return _refusal(exc.remark), b""
    except MemoryError:
        return _refusal(Remark("no_memory")), b""
    except RecursionError:
        return _refusal(Remark("too_deep")), b""
    except OUR_FAULTS as exc:
        return _refusal(Remark("reader_fault", {"reason": _words(exc)})), b""
    except Exception as exc:  # noqa: BLE001 — the edge: libraries raise whatever a broken file leads them to
        return _refusal(Remark("damaged", {"reason": _words(exc)})), b""
    return {"size": len(answer)}, answer


def _refusal(remark: Remark) -> dict[str, Any]:
    return {"remark": remark.to_json()}


def _words(exc: Exception) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:MAX_WORDS]


def _work(request: dict[str, Any], source: Source) -> bytes:
    if request["work"] == "parse":
        return json.dumps(_fields(read_document(source))).encode()
    from rag.parsing.render import render

    return render(source, request["page"], [Box(*box) for box in request["boxes"]], request["scale"])


def _fields(document: ParsedDocument) -> dict[str, Any]:
    """The document for JSON; numbers on pages to a hundredth of a point."""
    return {
        "kind": document.kind,
        "title": document.title,
        "text": document.text,
        "pages": [[page.number, page.start, page.end, page.width, page.height] for page in document.pages],
        "lines": [[line.start, line.end, line.page, *_corners(line.box)] for line in document.lines],
        "headings": [[heading.start, heading.end, heading.level] for heading in document.headings],
        "notes": [note.to_json() for note in document.notes],
    }


def _corners(box: Box) -> list[float]:
    return [round(side, 2) for side in (box.left, box.top, box.right, box.bottom)]


if __name__ == "__main__":
    main()
