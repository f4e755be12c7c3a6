"""The command that serves: its lines, its key, its port, and its end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from app.commands import serve
from app.commands.serve import given_key
from app.paths import ROOT
from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, TrainingError
from core.model.adapters import AdapterShape, adaptable_layers, add_adapters_
from core.model.checkpoint import load_model, save_model
from core.model.folder import AdapterBase
from core.model.peft_format import write_adapter
from core.model.transformer import Transformer
from core.model.weight_files import weights_hash

CONTEXT = 4096
TEXTS = [f"The quick brown fox {number} jumps over. 今天天气很好我们去公园散步{number}。" for number in range(60)]
MESSAGES: Any = [{"role": "user", "content": "the fox"}]
needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that never stops by itself when it is greedy."""
    tokenizer = Tokenizer.train(TEXTS, vocab_size=320)
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "initializer_range": 0.3}
    network = Transformer(ModelConfig.from_dict({**values, "max_position_embeddings": CONTEXT}))
    network.init_weights(seed=2)
    with torch.no_grad():
        network.model.embed_tokens.weight[list(tokenizer.stop_ids)] = 0
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(network, folder, tokenizer=tokenizer)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@contextmanager
def served(folder: Path, home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process, killed in the end; where a test fails it says first where each thread of it stands."""
    command = [sys.executable, "-X", "faulthandler", "-m", "app", "serve", "--port", "0", "--model", str(folder)]
    environment = {**os.environ, "ASTRAI_HOME": str(home)}
    with subprocess.Popen(
        [*command, *options], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        except BaseException:
            process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            raise
        finally:
            process.kill()


@pytest.fixture(scope="module")
def process(folder: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    with served(folder, home) as process:
        yield process


@pytest.fixture(scope="module")
def settings(process: subprocess.Popen[str]) -> dict[str, str]:
    """What the two lines for the shell set."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[0].startswith("tiny, ")
    return dict(re.findall(r'(OPENAI_\w+)\W+(\S+?)"?\n', "".join(lines[1:])))


@pytest.fixture
def client(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[openai.OpenAI]:
    """A client that knows nothing but the two lines."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with openai.OpenAI(max_retries=0) as client:
        yield client


def test_a_client_with_the_two_lines_is_answered(client: openai.OpenAI) -> None:
    name = client.models.list().data[0].id
    answer = client.chat.completions.create(model=name, messages=MESSAGES, max_tokens=5, temperature=0)
    assert name == "tiny"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def test_the_key_lies_in_the_data_folder_for_its_owner_alone(settings: dict[str, str], home: Path) -> None:
    path = home / "api.key"
    assert path.read_text() == settings["OPENAI_API_KEY"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_wrong_key_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
        client.with_options(api_key="wrong").models.list()


@pytest.mark.parametrize(
    ("name", "value", "status"), [("Host", "evil.example", 421), ("Origin", "http://evil.example", 403)]
)
def test_foreign_requests_are_refused_with_the_key(
    settings: dict[str, str], name: str, value: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {settings['OPENAI_API_KEY']}", name: value}
    assert httpx.get(f"{settings['OPENAI_BASE_URL']}/models", headers=headers).status_code == status


def test_whether_it_is_there_is_told_without_a_key_and_nothing_else(settings: dict[str, str]) -> None:
    address = settings["OPENAI_BASE_URL"].removesuffix("/v1")
    assert httpx.get(f"{address}/health").json() == {"status": "ok", "model": "tiny"}
    for path in ("/metrics", "/openapi.json", "/v1/models"):
        assert httpx.get(f"{address}{path}").status_code == 401


def test_an_own_key_is_taken_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("a-key-of-my-own-1234\n")
    assert given_key(None) is None
    assert given_key(path) == "a-key-of-my-own-1234"
    monkeypatch.setenv("ASTRAI_API_KEY", "another-key-of-mine-5678")
    assert given_key(None) == "another-key-of-mine-5678"


@pytest.mark.parametrize("key", ["", "short", "with spaces in it and more", "schlüssel-mit-umlaut"])
def test_a_weak_or_odd_key_is_refused_without_showing_it(tmp_path: Path, key: str) -> None:
    path = tmp_path / "key"
    path.write_text(key, encoding="utf-8")
    with pytest.raises(ConfigError, match="Give at least 16") as caught:
        given_key(path)
    assert not key or key not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        given_key(tmp_path / "none")


@pytest.mark.parametrize("count", ["0", "5000"])
def test_a_number_of_answers_out_of_bounds_is_refused(count: str) -> None:
    parser = ArgumentParser()
    serve.add_arguments(parser)
    with pytest.raises(ConfigError, match="outside 1"):
        serve.run(parser.parse_args(["--max-open", count]))


@needs_signals
def test_sigterm_ends_it_within_three_seconds_while_a_stream_is_open(
    client: openai.OpenAI, process: subprocess.Popen[str]
) -> None:
    chunks = iter(client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, stream=True))
    for _ in range(3):
        next(chunks)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    with pytest.raises(openai.APIError, match="The server is stopping"):
        list(chunks)
    assert process.wait(5) == -signal.SIGTERM
    assert time.monotonic() - start < 3


@pytest.mark.slow
def test_adapters_are_models_beside_the_model(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "poet"
    shutil.copytree(folder, run / "base")
    network = load_model(run / "base")
    shape = AdapterShape(rank=2, alpha=4.0, is_dora=False)
    add_adapters_(network, shape, layers=adaptable_layers(network, "all"), seed=1)
    write_adapter(network, run, base=AdapterBase(str(folder), weights_hash(folder)))
    options = ["--adapter", str(run), "--adapter", f"terse={run}"]
    with served(folder, tmp_path / "home", *options) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[1] == "Model ids: tiny, tiny:poet, tiny:terse\n"
        given = dict(re.findall(r'(OPENAI_\w+)\W+(\S+?)"?\n', "".join(lines)))
        address, key = given["OPENAI_BASE_URL"], given["OPENAI_API_KEY"]
        with openai.OpenAI(base_url=address, api_key=key, max_retries=0, timeout=60) as client:
            assert {model.id for model in client.models.list()} >= {"tiny", "tiny:poet", "tiny:terse"}
            answer = client.chat.completions.create(model="tiny:poet", messages=MESSAGES, max_tokens=4)
            assert answer.model == "tiny:poet"


def test_two_adapters_of_one_name_and_a_run_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert serve.given_adapters([f"a={tmp_path}"]) == {"a": tmp_path}
    with pytest.raises(ConfigError, match="Two adapters are called a"):
        serve.given_adapters([f"a={tmp_path}", f"a={tmp_path}"])
    with pytest.raises(TrainingError, match="There is no run 'nothing'"):
        serve.given_adapters(["nothing"])
