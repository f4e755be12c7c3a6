"""Where things lie: the user's data, and what ships with the program.

Everything of a user is under one folder, `core.folders.data_dir`. Folders are made, private to the user, when
their path is asked for.
"""

from pathlib import Path

from core.files import make_folder
from core.folders import data_dir

ROOT = Path(__file__).resolve().parents[1]
ADDING_SUFFIX = ".adding"  # of a hidden folder in which a model is copied into the models folder


def models_dir() -> Path:
    """Models the user put there."""
    return _made(data_dir() / "models")


def library_dir() -> Path:
    """The library: its database, and copies of the files that were dropped onto the page."""
    return _made(data_dir() / "library")


def preferences_dir() -> Path:
    """What the user prefers: rated answers, pairs, votes, and which version of a model answers."""
    return _made(data_dir() / "preferences")


def conversations_dir() -> Path:
    """What was said in the chat, and daily copies of it."""
    return _made(data_dir() / "conversations")


def attachments_dir() -> Path:
    """Files that are attached to a question, each for as long as it is read."""
    return data_dir() / "attachments"


def personas_file() -> Path:
    """The personas that the user made."""
    return data_dir() / "personas.json"


def studio_dir() -> Path:
    """The studio: its runs, each a folder, and copies of the training data that was dropped onto the page."""
    return _made(data_dir() / "studio")


def log_file() -> Path:
    """The log of the program, rotated when it grows."""
    return _made(data_dir() / "logs") / "astrai.log"


def starter_dir() -> Path:
    """The model that ships with the program."""
    return ROOT / "models" / "starter"


def _made(folder: Path) -> Path:
    make_folder(folder, is_private=True)
    return folder
