"""The words train, eval, export, generate and chat as a user types them, on a tiny model and on bad input."""

import gzip
import importlib
import json
import math
import pickle
import re
import shutil
import signal
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from app.__main__ import EXIT_FAILED, main
from app.commands.train import Progress
from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer

Run = Callable[..., tuple[int, str, str]]
WORDS = ("train", "eval", "export", "generate", "chat")


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "initializer_range": 0.3}
    transformer = Transformer(ModelConfig.from_dict(values))
    transformer.init_weights(seed=2)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(transformer, folder, tokenizer=tokenizer, max_shard_bytes=80_000)
    return folder


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A model folder of one's own, to be broken."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command line; gives its status, what it printed and its complaint."""

    def command(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([str(word) for word in words])
        return status, *capfd.readouterr()

    return command


@pytest.fixture
def complaint(run: Run) -> Callable[..., str]:
    """The one line that a command line ends with which cannot be served."""

    def line(*words: object) -> str:
        status, _, error = run(*words)
        assert status == EXIT_FAILED
        assert error.count("\n") == 1
        assert "Traceback" not in error
        return error

    return line


Complaint = Callable[..., str]


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("word", WORDS)
def test_every_option_is_explained(word: str) -> None:
    parser = ArgumentParser()
    importlib.import_module(f"app.commands.{word}").add_arguments(parser)
    texts = {action.dest: str(action.help) for action in parser._actions}
    assert [name for name, text in texts.items() if len(text.split()) < 2] == []
    assert [name for name, text in texts.items() if "None" in text or "default [" in text or "default {" in text] == []


def test_help_is_made_from_the_texts_of_the_configs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "python launch.py train --stage pt --data DATASET --output RUN" in text
    assert "--max-seq-len N length of one packed row; rm and dpo: longest prompt with its answer (default 512" in text
    assert "--data TEXT folder that `prepare` wrote (required)" in text
    assert "--checkpoint-interval-s X time between checkpoints; 0 saves after every step (default 300 s)" in text


def test_train_export_eval_and_generate_run_end_to_end(run: Run, text_data: Path, tmp_path: Path) -> None:
    folder, text = tmp_path / "run", tmp_path / "a.txt"
    text.write_text("the quick brown fox", encoding="utf-8-sig")
    options = ("--preset", "tiny", "--max-seq-len", 32, "--max-steps", 3, "--log-interval", 1, "--num-threads", 1)
    status, out, _ = run("train", "--data", text_data, "--output", folder, *options)
    assert status == 0
    assert "step 3/3: loss" in out
    assert "tokens/s" in out
    assert "s to go" in out
    assert "bits/byte" in out
    status, out, _ = run("train", "--output", folder, "--resume", "--max-steps", 4)
    assert status == 0
    assert "step 4/4" in out
    assert run("export", folder, tmp_path / "int8", "--to", "int8")[0] == 0
    status, out, _ = run("eval", text, "--model", tmp_path / "int8", "--json")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["results"][0]["num_bytes"] == 19
    status, out, _ = run("generate", "the", "--model", tmp_path / "int8", "--max-new-tokens", 3, "--json")
    assert status == 0
    assert json.loads(out)["finish_reason"] in ("length", "stop")
    assert json.loads((tmp_path / "int8" / "config.json").read_text())["astrai"]["steps"] == 4


@pytest.mark.slow
def test_stages_of_pairs_run_from_the_command_line(run: Run, text_data: Path, pair_data: Path, tmp_path: Path) -> None:
    options = ("--max-seq-len", 96, "--max-steps", 2, "--log-interval", 1, "--num-threads", 1)
    begun = run("train", "--preset", "tiny", "--data", text_data, "--output", tmp_path / "pt", *options)
    assert begun[0] == 0
    for stage, is_in in (("rm", "The reward model is in"), ("dpo", "Chat with it")):
        words = ("--stage", stage, "--from", tmp_path / "pt", "--data", pair_data, "--output", tmp_path / stage)
        status, out, _ = run("train", *words, *options)
        assert status == 0
        assert is_in in out
        assert "of the pairs the right way round" in out
    for stage in ("grpo", "ppo"):
        words = ("--stage", stage, "--from", tmp_path / "dpo", "--data", pair_data, "--output", tmp_path / stage)
        small = ("--max-new-tokens", 8, "--num-generations", 2, "--micro-batch-size", 2, "--global-batch-size", 2)
        status, out, _ = run("train", *words, "--reward-model", tmp_path / "rm", *small, *options)
        assert status == 0
        assert "Chat with it" in out
        assert re.search(r"validation .*reward -?\d", out)


def test_a_stopped_run_says_where_its_checkpoint_is_and_how_to_go_on(
    run: Run, text_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Progress.show

    def show_and_stop(self: Progress, row: dict[str, Any]) -> None:
        show(self, row)
        if "loss" in row:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Progress, "show", show_and_stop)
    options = ("--preset", "tiny", "--max-seq-len", 32, "--max-steps", 3, "--log-interval", 1, "--num-threads", 1)
    status, out, _ = run("train", "--data", text_data, "--output", tmp_path / "run", *options)
    assert status == 0
    assert f"Stopped; the checkpoint is {tmp_path / 'run' / 'checkpoints' / 'step-00000001'}. Go on: " in out
    assert not (tmp_path / "run" / "model").exists()


def test_a_missing_shard_is_named(copy: Path, complaint: Complaint) -> None:
    shard = sorted(copy.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert f"lacks 1 of 8 weight files: {shard.name}. Download" in complaint("generate", "a", "--model", copy)


def test_wrong_shapes_are_named(copy: Path, complaint: Complaint) -> None:
    change_config(copy, intermediate_size=177)
    error = complaint("chat", "--model", copy)
    assert "up_proj.weight is [176, 64], config.json says [177, 64]" in error


def test_a_cut_file_is_named_with_its_size(copy: Path, complaint: Complaint) -> None:
    shard = min(copy.glob("model-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:900])
    assert f"{shard} (900 bytes) is not a whole safetensors file" in complaint("export", copy, copy.with_name("out"))
    assert not copy.with_name("out").exists()


def test_a_pickle_is_refused(copy: Path, complaint: Complaint) -> None:
    for path in copy.glob("model*"):
        path.unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert "which can run code. Use a version of the model in safetensors." in complaint(
        "generate", "a", "--model", copy
    )


def test_weights_that_are_not_numbers_are_named(copy: Path, complaint: Complaint, tmp_path: Path) -> None:
    shard = copy / json.loads((copy / "model.safetensors.index.json").read_text())["weight_map"]["model.norm.weight"]
    tensors = load_file(shard)
    tensors["model.norm.weight"][0] = math.nan
    save_file(tensors, shard)
    (tmp_path / "a.txt").write_text("text")
    assert "its weights are damaged" in complaint("generate", "a", "--model", copy)
    assert "its weights are damaged" in complaint("eval", tmp_path / "a.txt", "--model", copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 2**40}, "vocab_size is 1099511627776, the maximum is 16777216"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, the maximum is 1024"),
        ({"eos_token_id": -3}, "eos_token_id is -3, the minimum is 0"),
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported. Use a model of one of: llama"),
    ],
)
def test_absurd_numbers_in_a_config_are_named(
    copy: Path, complaint: Complaint, change: dict[str, object], message: str
) -> None:
    change_config(copy, **change)
    assert message in complaint("generate", "a", "--model", copy)


def test_models_that_are_not_here_say_how_to_get_them(complaint: Complaint, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "nothing is downloaded by itself. Get it with `python launch.py download" in complaint(
        "chat", "--model", "a-b/c-d.e"
    )
    assert "loop is not a folder" in complaint("generate", "a", "--model", tmp_path / "loop")


def test_a_dtype_that_int8_has_not_is_refused(copy: Path, complaint: Complaint) -> None:
    error = complaint("export", copy, copy.with_name("out"), "--to", "int8", "--dtype", "float16")
    assert "dtype float16 is for hf form, and to is int8" in error


def test_a_model_is_not_exported_onto_itself(copy: Path, complaint: Complaint) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert "would be overwritten. Choose another place." in complaint("export", copy, copy, "--to", "int8")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "the file is empty"),
        ("blank.jsonl", b"\n\n", "the file is empty"),
        ("none.json", b"[]", "holds no text (2 bytes)"),
        ("binary.txt", b"\x7fELF\0\0", "a binary file"),
        ("program.bin", b"text", "not a kind of file that is read"),
        ("rows.jsonl", b'{"text": "a"}\n\n{"text": 5}\n', "rows.jsonl, line 3: no known fields among text"),
        ("rows.jsonl", b'{"text": "a"\n{"text": "b"}\n', "rows.jsonl, line 1: broken JSON"),
        ("cut.txt.gz", gzip.compress(b"text")[:-4], "reading stopped"),
    ],
)
def test_files_that_cannot_be_scored_are_named(
    model: Path, complaint: Complaint, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"{name}" in complaint("eval", tmp_path / name, "--model", model)
    assert message in complaint("eval", tmp_path / name, "--model", model)


def test_a_file_that_is_not_there_is_named(model: Path, complaint: Complaint, tmp_path: Path) -> None:
    assert "none.txt does not exist" in complaint("eval", tmp_path / "none.txt", "--model", model)


def test_files_that_prepare_reads_are_scored_alike_in_every_form(model: Path, run: Run, tmp_path: Path) -> None:
    text = "今天天气很好我们一起去公园散步，看见许多红色的花和绿色的树。the quick brown fox\n" * 4
    forms = {
        "plain.txt": text.encode(),
        "gbk.txt": text.encode("gbk"),
        "utf16.txt": text.encode("utf-16"),
        "packed.txt.gz": gzip.compress(text.encode()),
        "rows.json": json.dumps([{"text": text}]).encode(),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
    status, out, _ = run("eval", *(tmp_path / name for name in forms), "--model", model, "--json")
    assert status == 0
    results = json.loads(out.splitlines()[-1])["results"]
    assert [row.pop("file") for row in results] == list(forms)
    assert [row for row in results if row != results[0]] == []


def test_half_of_a_surrogate_pair_counts_as_a_character(model: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a\\ud800"}')
    status, out, _ = run("eval", tmp_path / "rows.jsonl", "--model", model, "--json", "--output", tmp_path / "r.json")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["results"][0]["num_bytes"] == 2
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(out.splitlines()[-1])


def test_a_run_that_cannot_begin_leaves_nothing(complaint: Complaint, text_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    options = ("--output", output, "--preset", "tiny", "--max-seq-len", 32)
    assert "sft needs base" in complaint("train", "--stage", "sft", "--data", text_data, *options)
    assert str(tmp_path / "none") in complaint("train", "--data", tmp_path / "none", *options)
    assert "holds no run to resume" in complaint("train", "--data", text_data, "--resume", *options)
    assert "holds no run to resume" in complaint("train", "--output", output, "--resume")
    (tmp_path / "c.json").write_text('{"learnin_rate": 1}')
    error = complaint("train", "--config", tmp_path / "c.json", "--data", text_data, *options)
    assert 'no option "learnin_rate": did you mean "learning_rate"?' in error
    assert "launch.py download no/such-model" in complaint(
        "train", "--data", text_data, "--base", "no/such-model", *options
    )
    assert not output.exists()


def test_a_place_that_cannot_be_written_is_named(complaint: Complaint, text_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    options = ("--preset", "tiny", "--max-seq-len", 32, "--max-steps", 1)
    error = complaint("train", "--data", text_data, "--output", tmp_path / "file" / "run", *options)
    assert "could not be written: [Errno 20] Not a directory" in error
    assert "MB free). Free some space, or choose another --output." in error
