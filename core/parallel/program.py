"""What programs that a launcher or the studio starts have in common: how they begin, report and end."""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from core.errors import AssistantError
from core.parallel.failure import ERROR_FILE, Cause, end_process, end_rank, own_cause, record_cause
from core.parallel.priority import asks_for_background, lower_priority


def run_to_end(work: Callable[[], None]) -> int:
    """Do a process's work, at the priority that is asked for; its exit status, not 0 after a cause was left."""
    if asks_for_background("0"):
        lower_priority()
    try:
        work()
    except AssistantError as exc:
        return _fail(Cause.of(exc))
    except Exception as exc:
        logging.getLogger(__name__).exception("rank %s failed", rank := int(os.environ.get("RANK", "0")))
        return _fail(own_cause(rank, exc))
    end_rank()
    return 0


def _fail(cause: Cause) -> int:
    """Leave the cause; a rank ends at once, since its group's end would wait for ranks that are lost."""
    if ERROR_FILE in os.environ:
        end_process(cause)
    record_cause(cause)
    return 1


def print_row(row: Mapping[str, Any]) -> None:
    """One JSON line on stdout, whose reader may have gone: the run goes on without one."""
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{json.dumps(dict(row))}\n".encode())
