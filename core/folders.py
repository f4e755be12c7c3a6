"""The user's data folder: the system's place for application data, or ASTRAI_HOME where that is set."""

import os
from pathlib import Path

from platformdirs import user_data_path

from core.files import make_folder


def data_dir() -> Path:
    """The folder that holds everything of this user, made private to the user when it is asked for."""
    home = os.environ.get("ASTRAI_HOME")
    folder = Path(home).expanduser().absolute() if home else user_data_path("astrai", appauthor=False)
    make_folder(folder, is_private=True)
    folder.chmod(0o700)
    return folder
