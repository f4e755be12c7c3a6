"""The environment variables of every start: nothing asks the network by itself."""

import os

DEFAULTS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",  # a download that the user starts lifts this
    "PYTHONUTF8": "1",
}


def set_defaults() -> None:
    """Set what the user has not set; before the libraries that read them are imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
