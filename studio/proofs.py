"""`python -m studio.proofs resume|preflight RUN/config.json --output FOLDER`: a proof on a copy of a user's run.

`resume` kills a copy at a random step and shows that the resumed run is the uninterrupted one to the last bit;
`preflight` shows, before hours are spent, that what is learnt does not depend on how the work is split.
Progress is JSON lines on stdout, what was found is FOLDER/result.json (studio/proof.py). A proof that was made ends
with 0, whatever it found.
"""

import argparse
import secrets
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from core.config.train_config import TrainConfig
from core.files import read_json_object, write_json
from core.parallel.program import print_row, run_to_end
from studio.preflight import preflight
from studio.proof import Check, ProgramError, Report
from studio.resume_proof import prove_resume
from studio.sample_data import sample


def prove(kind: str, config: TrainConfig, folder: Path, *, seed: int, nproc: int, report: Report) -> dict[str, Any]:
    """Make a proof in a folder; what its result.json says."""
    work, started = folder / "work", time.monotonic()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        if kind == "resume":
            checks = prove_resume(config, work, seed=seed, nproc=nproc, report=report)
        else:
            checks = preflight(config, work, report=report)
    except ProgramError as exc:
        checks = [Check.failed("ran", exc.cause)]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    failed = [check.name for check in checks if check.passed is False]
    result = {
        "kind": kind,
        "verdict": {"holds": not failed, "failed": failed, "num_checks": len(checks)},
        "checks": [check.to_dict() for check in checks],
        "seconds": round(time.monotonic() - started, 1),
        "stage": config.stage,
        "seed": seed,
    }
    write_json(folder / "result.json", result)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("resume", "preflight"))
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder for result.json")
    parser.add_argument("--seed", type=int, help="resume: draws the step at which the copy is killed")
    parser.add_argument("--prepare", type=Path, help="JSON of files whose beginnings are the data of the copies")
    parser.add_argument("--nproc", type=int, default=1, help="resume: processes of the run")
    arguments = parser.parse_args()
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    signal.signal(signal.SIGTERM, _stop)

    def work() -> None:
        config = TrainConfig.from_json(arguments.config)
        if arguments.prepare:
            config = replace(config, data=str(_sampled(arguments.prepare, arguments.output)))
        result = prove(arguments.kind, config, arguments.output, seed=seed, nproc=arguments.nproc, report=print_row)
        print_row({"verdict": result["verdict"]})

    return run_to_end(work)


def _sampled(request: Path, folder: Path) -> Path:
    """Prepare the beginnings of the files that are named, anew; where the data is."""
    for name in ("files", "data"):
        shutil.rmtree(folder / name, ignore_errors=True)
    sample(read_json_object(request), folder)
    return folder / "data"


def _stop(number: int, frame: FrameType | None) -> None:
    """End through the blocks that end the programs and clean up."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
