"""What the train word shows of a run, line by line."""

from pathlib import Path
from typing import Any

import pytest

from app.__main__ import main
from app.commands.train import Progress, validation_text

STEP: dict[str, Any] = {"step": 3, "num_steps": 9, "loss": 1.5, "tokens_per_s": 2000.0, "eta_s": 150.0}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (STEP, "step 3/9: loss 1.500, 2,000 tokens/s, 2.5 min to go"),
        (
            {"step": 3, "validation_loss": 2.0, "validation_bits_per_byte": 1.25},
            "step 3: validation 2.000 (1.250 bits/byte)",
        ),
        ({"step": 3, "validation_reward": 0.25, "validation_kl": 0.5}, "step 3: validation reward 0.250, kl 0.500"),
        ({"step": 3, "sample": {"prompt": "Hi", "text": "Hello"}}, "step 3: Hi → Hello"),
    ],
)
def test_each_row_of_a_run_has_its_line(row: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    Progress().show(row)
    assert capsys.readouterr().out == f"{line}\n"


def test_pairs_are_told_by_how_many_are_the_right_way_round() -> None:
    assert validation_text({"validation_loss": 0.5, "validation_accuracy": 0.75}) == (
        "0.500 (75.0% of the pairs the right way round)"
    )


def test_from_and_resume_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--output", str(tmp_path), "--resume", "--from", "runs/pt"]) != 0
    assert "--from runs/pt would start another one. Leave one of them out." in capsys.readouterr().err
