"""Hostile model folders and templates: nothing runs, nobody dies, and what cannot be used is refused in a sentence."""

import random
import shutil
import time
from pathlib import Path

import jinja2
import pytest
from jinja2.exceptions import SecurityError

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import SETTINGS_FILE, Tokenizer
from core.errors import AssistantError
from core.model.checkpoint import load_model, load_sampling, save_model
from core.model.transformer import Transformer
from tests.core.data.test_template_sandbox import HOSTILE, render
from tests.figures import Figure
from tests.security.model_zoo import CANARY, CONFIG, TOKENIZER, WEIGHTS, Spoil, zoo

ZOO = dict(zoo())
NUM_FLIPS, SEED = 2000, 20
# Loaded as they are: what is spoilt is not used, or only costs what it says.
HARMLESS = (
    "beside the weights", "config: auto_map", "config: auto_mapping", "config: model_file", "config: custom_pipelines",
    "config: trust_remote_code", "config: _attn", "config: attn", "config: megatron_core", "config: kernel_config",
    "config: base_model", "config: max_position_embeddings is", "config: head_dim is", "config: num_key_value_heads is",
)  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer.train([f"word{i} and 词{i}" for i in range(200)], vocab_size=300)
    model = Transformer(ModelConfig.from_dict({**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size}))
    model.init_weights(seed=3)
    save_model(model, tmp_path_factory.mktemp("good") / "model", tokenizer=tokenizer)
    return next(tmp_path_factory.getbasetemp().glob("good*/model"))


def open_all(folder: Path) -> str | None:
    """The sentence that refuses a folder, or None where it opens."""
    try:
        load_model(folder)
        load_sampling(folder)
        Tokenizer.load(folder)
    except AssistantError as exc:
        return str(exc)
    return None


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ZOO)
def test_a_hostile_folder_runs_nothing_and_is_refused_by_name(
    good: Path, tmp_path: Path, name: str, figure: Figure
) -> None:
    spoil: Spoil = ZOO[name]
    shutil.copytree(good, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.model").unlink(missing_ok=True)
    spoil(tmp_path / "model")
    sentence = open_all(tmp_path / "model")
    assert not (tmp_path / CANARY).exists()
    assert sentence is None or "\n" not in sentence
    assert sentence is not None or name.startswith(HARMLESS) or HARMLESS[0] in name
    figure("G10 folders", 1)
    figure("G10 ran", 0)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_flipped_and_cut_files_end_nobody(good: Path, tmp_path: Path, figure: Figure) -> None:
    draw = random.Random(SEED)
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    (folder / "tokenizer.model").unlink(missing_ok=True)
    names = (CONFIG, WEIGHTS, TOKENIZER, SETTINGS_FILE)
    contents = {name: (folder / name).read_bytes() for name in names}
    for _ in range(NUM_FLIPS):
        name = draw.choice(names)
        raw = bytearray(contents[name])
        for _ in range(draw.randrange(1, 4)):
            raw[draw.randrange(min(len(raw), 4000))] ^= 1 << draw.randrange(8)
        (folder / name).write_bytes(raw[: draw.randrange(len(raw))] if draw.random() < 0.3 else raw)
        open_all(folder)
        (folder / name).write_bytes(contents[name])
    assert open_all(folder) is None
    assert not (tmp_path / CANARY).exists()
    figure("G10 flips", NUM_FLIPS, seed=SEED)


WRAPPED = (
    "{}",
    "{{% for m in messages %}}{}{{% endfor %}}",
    "{{% macro f() %}}{}{{% endmacro %}}{{{{ f() }}}}",
    "{{% set x %}}{}{{% endset %}}{{{{ x }}}}",
    "{{% if true %}}{}{{% endif %}}",
    "{{% with a = 1 %}}{}{{% endwith %}}",
)
REFUSALS = (
    SecurityError, jinja2.TemplateError, TypeError, LookupError, ZeroDivisionError, OverflowError, RecursionError,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_three_hundred_hostile_templates_end_in_time(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.template_sandbox.RENDER_LIMIT_S", 1.0)
    sources = [wrap.format(source) for wrap in WRAPPED for source in HOSTILE]
    slowest = 0.0
    for source in sources:
        begin = time.thread_time()
        with pytest.raises(REFUSALS):
            render(source)
        slowest = max(slowest, time.thread_time() - begin)
    figure("G11 templates", len(sources))
    figure("G11 slowest", slowest)
