"""The programs that the crash tests end: `python -m tests.faults.saving` forks one for each order on its input.

An order is a line of JSON, {"kind", "place"}. The answer is two lines: the pid of a fork that has stopped itself and
waits to be traced, and its status once it has ended. With "kill_after_s" it waits for nobody, and a number ends it.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import AssistantError
from core.files import write_json
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from core.parallel.setup import Ranks
from core.trainer.run_folder import RunFolder, Snapshot, save_checkpoint
from studio.job_folder import Attempt, End, JobFolder, JobState
from studio.job_folder import JobSpec as Spec
from tests.app import chatting_program
from tests.faults.system_calls import REFUSED
from tests.rag import indexing_program

SAVED = "saved"
VERSIONS = (1, 2, 3)
FILLER = "x" * 20_000
TOKENIZER = Tokenizer.train([f"word{i} and 词{i}" for i in range(200)], vocab_size=300)
SHARD_BYTES = 60_000


def say(*words: object) -> None:
    """Acknowledge something: it must outlive whatever comes."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def json_files(place: Path) -> None:
    """Settings and secrets, written again and again."""
    for version in VERSIONS:
        for name, is_private in (("settings.json", False), ("secret.json", True)):
            write_json(place / SAVED / name, {"version": version, "filler": FILLER}, is_private=is_private)
            say(name, version)


def job_state(place: Path) -> None:
    """The records of a job, from its start to its end."""
    folder = JobFolder(place / SAVED)
    write_json(folder.spec, Spec("train", "a run", 1.0).to_dict())
    say("spec")
    for number in VERSIONS:
        for phase in ("starting", "preparing", "running"):
            folder.write_attempt(Attempt(number, phase, float(number)))
            say("attempt", number, phase)
        write_json(folder.heartbeat, {"step": number})
        folder.write_end(number, End(JobState.FINISHED, 0, float(number), step=number))
        say("end", number)


def checkpoints(place: Path) -> None:
    """A run that saves, and drops what is old."""
    run = RunFolder(place / SAVED)
    for version in VERSIONS:
        snapshot = Snapshot(model(version), TOKENIZER, {}, {"moment": torch.full((900,), version)}, {"step": version})
        save_checkpoint(run, snapshot, Ranks.alone())
        say("saved", version)
        run.drop_old_checkpoints(2, spare=None)


def model_export(place: Path) -> None:
    """A model in shards, exported over an earlier one."""
    for version in VERSIONS:
        save_model(
            model(version), place / SAVED, tokenizer=TOKENIZER, extra={"version": version}, max_shard_bytes=SHARD_BYTES
        )
        say("exported", version)


def model(version: int) -> Transformer:
    """A tiny model all of whose weights are its version."""
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": TOKENIZER.vocab_size}
    made = Transformer(ModelConfig.from_dict(values))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(version)
    return made


def library(place: Path) -> None:
    indexing_program.main(*(place / name for name in ("library", "files", "second")))


def conversations(place: Path) -> None:
    chatting_program.main(place / SAVED)


PROGRAMS: dict[str, Callable[[Path], None]] = {
    "JSON files": json_files,
    "job state": job_state,
    "checkpoints": checkpoints,
    "model export": model_export,
    "the library": library,
    "conversations": conversations,
}


def be(kind: str, place: str) -> None:
    """What a fork does: wait to be traced, run, and end with a sentence where it fails."""
    for number, suffix in ((1, "said"), (2, "sentence")):
        os.dup2(os.open(f"{place}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.kill(os.getpid(), signal.SIGSTOP)
    status = 0
    try:
        PROGRAMS[kind](Path(place))
    except (AssistantError, OSError) as exc:
        os.write(2, f"{exc}\n".encode())
        status = REFUSED
    os._exit(status)


def main() -> None:
    """Fork a program for each order, until the input ends."""
    logging.disable(logging.WARNING)  # such as that a cache was not written
    torch.set_num_threads(1)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            be(order["kind"], order["place"])
        os.waitpid(pid, os.WUNTRACED)
        answer(pid)
        if "kill_after_s" in order:  # else it goes on when strace has it
            os.kill(pid, signal.SIGCONT)
            if order["kill_after_s"] is not None:
                time.sleep(order["kill_after_s"])
                os.kill(pid, signal.SIGKILL)  # it has not been waited for, so the number is still its own
        answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
