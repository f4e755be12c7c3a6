"""`eval` as a user types it."""

import json
from pathlib import Path

import pytest

from app.__main__ import EXIT_FAILED, main


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_everything_is_scored_in_one_call(
    folder: Path, reward_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = write(tmp_path / "asked.jsonl", {"question": "Why?", "options": ["a", "b"], "answer": 0})
    pairs = write(tmp_path / "pairs.jsonl", {"prompt": "the fox", "chosen": "jumps", "rejected": "a lazy dog"})
    (tmp_path / "a.txt").write_text("the quick brown fox")
    words = ["eval", str(tmp_path / "a.txt"), "--model", str(folder), "--choices", asked, "--pairs", pairs]
    words += ["--reward-model", str(reward_folder), "--against", str(folder), "--prompts", pairs]
    assert main([*words, "--max-new-tokens", "4", "--temperature", "0", "--json"]) == 0
    *table, line = capfd.readouterr().out.splitlines()
    report = json.loads(line)
    assert report["results"][0]["file"] == "a.txt"
    assert report["choices"][0]["chance"] == 0.5
    assert report["pairs"][0]["num_pairs"] == 1
    assert (report["win_rate"]["win_rate"], report["win_rate"]["num_prompts"]) == (0.5, 1)
    assert any(line.startswith("asked.jsonl") and " 50.0% " in line for line in table)
    assert any(line.startswith("pairs.jsonl") and line.endswith(" 0.0%") for line in table)
    assert "1 prompts: 0 wins, 1 ties, 0 losses, 50.0% (" in table[-1]


def test_pairs_are_judged_where_device_says(
    reward_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pairs = write(tmp_path / "pairs.jsonl", {"prompt": "the fox", "chosen": "jumps", "rejected": "a lazy dog"})
    words = ["eval", "--pairs", pairs, "--reward-model", str(reward_folder)]
    assert main([*words, "--device", "cpu"]) == 0
    assert main([*words, "--device", "cuda"]) == EXIT_FAILED
    assert "device 'cuda' is not available here" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to score"),
        (["--pairs", "a.jsonl"], "--pairs and --against need --reward-model"),
        (["--against", "x"], "--pairs and --against need --reward-model; --against and --prompts go together"),
        (["a.txt", "--max-new-tokens", "0"], "--max-new-tokens and --max-questions are at least 1"),
    ],
)
def test_all_that_is_missing_is_said_at_once(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *words]) == EXIT_FAILED
    assert message in capfd.readouterr().err
