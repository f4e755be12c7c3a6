"""A program that is a job: `python -m tests.studio.program FILE WORD` writes the word, or sleeps for ever."""

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    if sys.argv[2] == "sleep":
        time.sleep(600)
    Path(sys.argv[1]).write_text(json.dumps(sys.argv[2]))
