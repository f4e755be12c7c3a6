"""Hostile documents by the hundred, and mutants of sound ones: a text or a sentence, in time, and nothing beside it."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rag.parsing import Parser, is_supported
from tests.conftest import ROOT, SHARED_DATA
from tests.figures import Figure
from tests.rag.parsing.hostile_documents import read
from tests.rag.parsing.sound_documents import SOUND, mutant

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
# Where other programs run, a second of work is several of the clock.
HANGS_S = 30 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 30
SEED = 9
OWN_FAULT = "a fault of this program"
NUM_SHARDS = 4
NUM_MUTANTS = int(os.environ.get("ASTRAI_MUTANTS", "100000"))
SHARD_S = float(os.environ.get("ASTRAI_MUTANTS_S", "900")) / 2  # two shards run at once
MAX_REAL_BYTES = 30_000
CALLS = "trace=connect,sendto,sendmsg,bind,open,openat,creat,rename,unlink,unlinkat,mkdir"
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|^\d+ +(?:connect|sendto|sendmsg|bind|creat|rename|unlink|mkdir)")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)")
def test_crafted_documents_are_read_or_refused_and_touch_nothing(tmp_path: Path, figure: Figure) -> None:
    (tmp_path / "files").mkdir()
    program = [sys.executable, "-B", "-m", "tests.rag.parsing.hostile_documents", str(tmp_path / "files")]
    traced = ["strace", "--seccomp-bpf", "-f", "-qq", "-z", "-e", CALLS, "-o", str(tmp_path / "trace"), *program]
    environment = os.environ | {"TMPDIR": str(tmp_path / "files")}
    done = subprocess.run(traced, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{rows[-1:]} {done.stderr[-2000:]}"
    counts = Counter(row["class"] for row in rows)
    slowest = max(rows, key=lambda row: row["seconds"])
    sys.stdout.write(f"{len(rows)} documents of {len(counts)} classes, the slowest {slowest}\n")
    assert len(counts) >= 15
    assert slowest["seconds"] < HANGS_S
    assert [row for row in rows if OWN_FAULT in row["outcome"]] == []
    lines = (tmp_path / "trace").read_text(encoding="utf-8", errors="replace").splitlines()
    ours = (str(tmp_path / "files"), "/dev/null")
    assert [line for line in lines if WRITES.search(line) and not any(f'"{name}' in line for name in ours)] == []
    figure("G9 files", len(rows))


def seeds() -> list[tuple[str, bytes]]:
    """Small documents: our own, and the real ones where the development data is there."""
    real = [
        (path.suffix[1:], path.read_bytes())
        for path in sorted((SHARED_DATA / "rag" / "documents").rglob("*"))
        if path.is_file() and is_supported(path) and path.stat().st_size < MAX_REAL_BYTES
    ]
    return [*SOUND.items(), *real]


@pytest.mark.parametrize("shard", range(NUM_SHARDS))
def test_mutants_are_read_or_refused(tmp_path: Path, figure: Figure, shard: int) -> None:
    draw = random.Random(f"{SEED} {shard}")
    found = seeds()
    contents = [content for _, content in found]
    slowest, num_read, begin = 0.0, 0, time.monotonic()
    with Parser() as parser:
        while num_read < NUM_MUTANTS / NUM_SHARDS and time.monotonic() - begin < SHARD_S:
            kind, content = draw.choice(found)
            path = tmp_path / f"mutant.{kind}"
            path.write_bytes(mutant(content, contents, draw))
            row = read(parser, path)
            assert OWN_FAULT not in str(row["outcome"]), row
            slowest = max(slowest, float(str(row["seconds"])))
            assert slowest < HANGS_S, f"mutant {num_read}: {row}"
            num_read += 1
    sys.stdout.write(f"shard {shard}: {num_read} mutants of {len(found)} documents, the slowest {slowest:.1f} s\n")
    figure("G9 mutants", num_read, seed=SEED)
