"""What must hold of each store after its program ended anyhow, and the ground on which it runs."""

from collections.abc import Callable
from pathlib import Path

from tests.app.test_conversation_crash import check as check_conversations
from tests.faults.system_calls import CALLS, Ended, Ground, Programs
from tests.faults.test_crash_points import CHECKS
from tests.rag.test_system_calls import Library, prepare


def check_of(kind: str, folder: Path) -> Callable[[Ended], None]:
    """Raises AssertionError, or what the store raises, where something acknowledged is lost or torn."""
    if kind == "the library":
        return Library(folder / "reference").check
    return {**CHECKS, "conversations": check_conversations}[kind]


def ground_of(kind: str, opened: Programs, folder: Path, *, calls: tuple[str, ...] = CALLS) -> Ground:
    """Where programs of this kind run."""
    if kind == "the library":
        return Ground(opened, kind, folder, watched="library", prepare=prepare, calls=calls)
    return Ground(opened, kind, folder, calls=calls)
