"""A file of prompts becomes a file of answers: in order, resumable, and a bad row costs nothing but itself."""

import json
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import core
from app.__main__ import EXIT_FAILED, EXIT_INTERRUPTED, main
from core.errors import BusyError, ConfigError, DataError, ModelError
from core.inference.batch import BatchProgress, generate_file
from core.inference.batch_output import open_output
from core.inference.batch_rows import MAX_ROW_BYTES, read_rows, survey
from core.inference.generator import LanguageModel
from tests.conftest import ROOT

SAMPLING = {"max_new_tokens": 6, "seed": 7}


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "x.jsonl", [{"prompt": f"the fox {number}"} for number in range(20)])


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "y.jsonl"


def test_answers_are_those_of_the_model_in_order_with_the_seed_of_their_row(
    model: LanguageModel, tmp_path: Path, target: Path
) -> None:
    messages = [{"role": "user", "content": "今天天气"}]
    rows = [
        {"prompt": "the quick"},
        {"id": "a-1", "messages": messages},
        {"id": 5, "prompt": "the quick", "seed": 99, "max_new_tokens": 3},
        {"prompt": "the quick", "seed": None, "stop": ["e"]},
    ]
    generate_file(model, write_rows(tmp_path / "x.jsonl", rows), target, sampling=SAMPLING)
    expected = [
        model.stream("the quick", max_new_tokens=6, seed=7),
        model.chat(messages, max_new_tokens=6, seed=8),
        model.stream("the quick", max_new_tokens=3, seed=99),
        model.stream("the quick", max_new_tokens=6, seed=10, stop=["e"]),
    ]
    found = answers(target)
    assert [row["text"] for row in found] == [stream.read() for stream in expected]
    assert [row["finish_reason"] for row in found] == [stream.finish_reason for stream in expected]
    assert [(row["index"], row.get("id")) for row in found] == [(0, None), (1, "a-1"), (2, 5), (3, None)]
    assert found[2]["usage"] == {"prompt_tokens": expected[2].stats.prompt_tokens, "completion_tokens": 3}


@pytest.mark.parametrize("max_running", [1, 3, 64])
def test_the_file_is_the_same_however_many_rows_are_under_way(
    model: LanguageModel, folder: Path, prompts: Path, target: Path, tmp_path: Path, max_running: int
) -> None:
    with closing(core.load(folder, max_running=max_running)) as other:
        generate_file(other, prompts, target, sampling=SAMPLING)
    generate_file(model, prompts, tmp_path / "other.jsonl", sampling=SAMPLING)
    assert target.read_bytes() == (tmp_path / "other.jsonl").read_bytes()


BAD_LINES = [
    (b"{", "The line is broken JSON: "),
    (b'{"prompt": "\xff"}', "The line is not UTF-8 at byte 13."),
    (b'{"prompt": "\\ud800"}', "half a character"),
    (b"[" * 100_000, "The line is broken JSON: "),
    (b"[1]", "The line is a JSON list, not an object."),
    (b'"text"', "The line is a JSON str, not an object."),
    (b"{}", 'needs "prompt" or "messages"'),
    (b'{"prompt": "a", "messages": []}', 'needs "prompt" or "messages", and not both'),
    (b'{"prompt": 3}', "prompt is a int, it must be a text"),
    (b'{"messages": []}', "messages must be a list"),
    (b'{"messages": [{"role": "robot", "content": "a"}]}', "messages must be a list"),
    (b'{"messages": [{"role": "user", "content": "a", "x": 1}]}', "messages must be a list"),
    (b'{"messages": {"role": "user"}}', "messages must be a list"),
    (b'{"prompt": "a", "temprature": 1}', 'no option "temprature": did you mean "temperature"'),
    (b'{"prompt": "a", "temperature": 99}', "temperature is 99, the maximum is 5"),
    (b'{"prompt": "a", "temperature": NaN}', "temperature is nan"),
    (b'{"prompt": "a", "id": {}}', "id must be a whole number or a text"),
    (b'{"prompt": "' + b"the fox " * 600 + b'"}', "the model's context is 256"),
    (b'{"prompt": "' + b"a" * MAX_ROW_BYTES + b'"}', "The line is over 8,388,608 bytes."),
]


@pytest.mark.parametrize(("line", "error"), BAD_LINES, ids=[error for _, error in BAD_LINES])
def test_a_bad_row_gets_its_error_and_the_others_their_answers(
    model: LanguageModel, tmp_path: Path, target: Path, line: bytes, error: str
) -> None:
    source = tmp_path / "x.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"prompt": "the"}\r\n\n' + line + b'\n{"prompt": "a dog"}')
    state = generate_file(model, source, target, sampling=SAMPLING)
    first, bad, last = answers(target)
    assert (state.num_done, state.num_errors) == (3, 1)
    assert (bad["index"], bad["line"]) == (1, 3)
    assert error in bad["error"]
    assert first["text"] == model.generate("the", max_new_tokens=6, seed=7)
    assert last["text"] == model.generate("a dog", max_new_tokens=6, seed=9)


def test_the_id_of_a_bad_row_is_kept(model: LanguageModel, tmp_path: Path, target: Path) -> None:
    generate_file(model, write_rows(tmp_path / "x.jsonl", [{"id": "k", "prompt": 1}]), target, sampling=SAMPLING)
    assert answers(target)[0]["id"] == "k"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([line for line, _ in BAD_LINES[:-2]]), min_size=1, max_size=5))
def test_any_bytes_are_rows_with_a_number_each(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"\n".join(lines) + b'\n{"prompt": "x"}')
    rows = list(read_rows(path))
    assert [row.index for row in rows] == list(range(len(rows)))
    assert rows[-1].prompt == "x"
    assert all((row.error is None) != (row.options is None) for row in rows)


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "x.jsonl", [{"prompt": "the quick brown fox " * 10}] * 5_000)
    tracemalloc.start()
    try:
        num_rows = survey(source).num_rows
        assert sum(1 for _ in read_rows(source)) == num_rows == 5_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000 < source.stat().st_size


def test_a_busy_engine_is_given_fewer_rows_at_once(
    model: LanguageModel, prompts: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_file(model, prompts, target.with_name("free.jsonl"), sampling=SAMPLING)
    stream, started = model.stream, []

    def narrow(prompt: str, **options: Any) -> Any:
        if sum(one.finish_reason is None for one in started) >= 2:
            raise BusyError("2 requests are under way.", "Try later.")
        started.append(stream(prompt, **options))
        return started[-1]

    monkeypatch.setattr(model, "stream", narrow)
    generate_file(model, prompts, target, sampling=SAMPLING)
    assert target.read_bytes() == target.with_name("free.jsonl").read_bytes()


# Interruptions


@pytest.mark.parametrize("rest", [b"", b'{"index": 5, "text": "th', b"\0\0\0"])
def test_a_batch_goes_on_after_its_last_whole_line(
    model: LanguageModel, prompts: Path, target: Path, rest: bytes
) -> None:
    generate_file(model, prompts, target, sampling=SAMPLING)
    whole = target.read_bytes()
    target.write_bytes(b"".join(whole.splitlines(keepends=True)[:5]) + rest)
    states: list[BatchProgress] = []
    generate_file(model, prompts, target, sampling=SAMPLING, progress=states.append)
    assert target.read_bytes() == whole
    assert [state.num_done for state in states] == list(range(5, 21))
    assert states[-1].num_resumed == 5


def test_a_batch_without_a_seed_draws_one_and_keeps_it(model: LanguageModel, prompts: Path, target: Path) -> None:
    generate_file(model, prompts, target, sampling={"max_new_tokens": 6})
    whole = target.read_bytes()
    target.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    generate_file(model, prompts, target, sampling={"max_new_tokens": 6})
    assert target.read_bytes() == whole


def test_a_finished_batch_is_not_computed_again(model: LanguageModel, prompts: Path, target: Path) -> None:
    generate_file(model, prompts, target, sampling=SAMPLING)
    whole = target.read_bytes()
    state = generate_file(model, prompts, target, sampling=SAMPLING)
    assert (state.num_done, state.num_resumed) == (20, 20)
    assert target.read_bytes() == whole


def test_another_input_options_or_model_than_it_was_begun_with_are_refused(
    model: LanguageModel, folder: Path, prompts: Path, target: Path, tmp_path: Path
) -> None:
    generate_file(model, prompts, target, sampling=SAMPLING)
    whole = target.read_bytes()
    with pytest.raises(ConfigError, match=r"begun with another temperature: 0\.7, now 0\.2\. Give the same again"):
        generate_file(model, prompts, target, sampling={**SAMPLING, "temperature": 0.2})
    with pytest.raises(ConfigError, match="begun with another max_seq_len: 256, now 128"):
        generate_file(core.load(folder, max_seq_len=128), prompts, target, sampling=SAMPLING)
    with pytest.raises(ConfigError, match="begun with another weights: , now 0123"):
        generate_file(model, prompts, target, sampling=SAMPLING, identity="0123")
    other = write_rows(tmp_path / "z.jsonl", [{"prompt": "a"}])
    with pytest.raises(ConfigError, match=r"begun with another input\. "):
        generate_file(model, other, target, sampling=SAMPLING)
    assert target.read_bytes() == whole


def test_a_file_of_somebody_else_is_left_alone(model: LanguageModel, prompts: Path, target: Path) -> None:
    target.write_text("mine")
    with pytest.raises(ConfigError, match="is there already, and not of a batch"):
        generate_file(model, prompts, target, sampling=SAMPLING)
    assert target.read_text() == "mine"
    target.unlink()
    generate_file(model, prompts, target, sampling=SAMPLING)
    lines = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(lines[0] + b"my note\n" + lines[2])
    with pytest.raises(DataError, match="has something else than row 1 on line 2"):
        generate_file(model, prompts, target, sampling=SAMPLING)
    assert b"my note" in target.read_bytes()


def test_two_processes_do_not_write_one_output(model: LanguageModel, prompts: Path, target: Path) -> None:
    with (
        open_output(target, {}, {"seed": 1}),
        pytest.raises(ConfigError, match="Another process writes"),
    ):
        generate_file(model, prompts, target, sampling=SAMPLING)


def test_a_full_disk_keeps_the_whole_lines_and_the_batch_goes_on(
    model: LanguageModel, prompts: Path, target: Path, tmp_path: Path
) -> None:
    generate_file(model, prompts, tmp_path / "free.jsonl", sampling=SAMPLING)
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        with pytest.raises(DataError, match=r"File too large; it holds the first \d+ rows\. Free some space"):
            generate_file(model, prompts, target, sampling=SAMPLING)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes().endswith(b"}\n")
    assert 0 < len(answers(target)) < 20
    generate_file(model, prompts, target, sampling=SAMPLING)
    assert target.read_bytes() == (tmp_path / "free.jsonl").read_bytes()


def test_damaged_weights_end_the_batch_and_not_a_row(folder: Path, prompts: Path, target: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "damaged")
    path = tmp_path / "damaged" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, path)
    model = core.load(tmp_path / "damaged")
    with pytest.raises(ModelError, match="logits are not finite"):
        generate_file(model, prompts, target, sampling=SAMPLING)
    assert target.read_bytes() == b""


# The command

Command = Callable[..., "list[str]"]


@pytest.fixture
def command(folder: Path, tmp_path: Path, target: Path) -> Command:
    def words(output: Path = target, count: int = 60) -> list[str]:
        source = tmp_path / f"{count}.jsonl"
        write_rows(source, [{"prompt": f"the fox {number}"} for number in range(count)])
        options = ["--model", str(folder), "--max-new-tokens", "8", "--seed", "3"]
        return ["generate", "--input", str(source), "--output", str(output), *options]

    return words


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_ended_command_goes_on_to_the_same_file(
    command: Command, target: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "app", *command()], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        while not target.exists() or target.stat().st_size < 300:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert 0 < len(target.read_bytes().splitlines()) < 60
    assert (process.returncode, "The same command goes on." in error) in ((-9, False), (EXIT_INTERRUPTED, True))
    assert main(command()) == 0
    assert " were there, " in capfd.readouterr().out
    assert main(command(tmp_path / "whole.jsonl")) == 0
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_files_that_cannot_be_used_are_said_in_one_sentence(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_text("\n \n")
    (tmp_path / "binary").write_bytes(b"\x1f\x8b\0")
    words = command(count=2)
    source = words[2]
    for changes, message in [
        ({2: str(tmp_path / "none")}, "none does not exist. Give a file of JSON lines."),
        ({2: str(tmp_path)}, "is not a file."),
        ({2: str(tmp_path / "empty")}, "empty has no rows."),
        ({2: str(tmp_path / "binary")}, "binary is no UTF-8 text."),
        ({4: source}, f"The output is the input, {source}."),
        ({4: f"{source}/y"}, "cannot be written: "),
        ({3: "--seed", 4: "3"}, "--output is missing."),
        ({5: "--json", 6: "--json"}, "A prompt and --json do not go with --input."),
    ]:
        assert main([changes.get(place, word) for place, word in enumerate(words)]) == EXIT_FAILED
        error = capfd.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_text_that_ends_at_once_is_said_and_leaves_standard_output_empty(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ending = Path(shutil.copytree(folder, tmp_path / "ending"))
    text = core.load(folder).generate("the", max_new_tokens=1, temperature=0)
    options = ["--model", str(ending), "--max-new-tokens", "4", "--temperature", "0", "--stop", text[0]]
    assert main(["generate", "the", *options]) == 0
    out, error = capfd.readouterr()
    assert out == ""
    assert error.startswith("The model takes this text as finished and adds nothing.")
