"""Where things lie: the user's data, and what ships with the program."""

import os
from pathlib import Path

from platformdirs import user_data_path

ROOT = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """The user's data folder: ASTRAI_HOME, or the platform's own place. Made private on first use."""
    home = os.environ.get("ASTRAI_HOME")
    folder = Path(home) if home else user_data_path("astrai", appauthor=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def models_dir() -> Path:
    """Models the user put there."""
    return _made(data_dir() / "models")


def runs_dir() -> Path:
    """Training runs, each with its model."""
    return _made(data_dir() / "runs")


def log_file() -> Path:
    return _made(data_dir() / "logs") / "astrai.log"


def starter_dir() -> Path:
    """The model that ships with the program."""
    return ROOT / "models" / "starter"


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
