"""Training on a GPU: bf16 beside fp32, one rank over NCCL beside a plain run, a run that goes on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.callbacks import CheckpointCallback
from core.trainer.run_folder import read_metrics
from core.trainer.trainer import Trainer
from tests.core.parallel.job import launch

pytestmark = pytest.mark.gpu


@pytest.fixture
def options(text_data: Path) -> dict[str, Any]:
    return {
        "data": str(text_data), "preset": "tiny", "max_seq_len": 64, "micro_batch_size": 2, "global_batch_size": 8,
        "max_steps": 8, "device": "cuda", "precision": "fp32", "log_interval": 1, "validation_interval": 0,
    }  # fmt: skip


def losses_of(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row]


def test_bf16_learns_what_fp32_does_on_a_gpu_and_a_cpu(options: dict[str, Any], tmp_path: Path) -> None:
    losses = {}
    for device, precision in (("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "bf16")):
        run = tmp_path / f"{device}-{precision}"
        train(TrainConfig.from_dict({**options, "device": device, "precision": precision, "output": str(run)}))
        losses[device, precision] = losses_of(run)
    assert losses["cuda", "fp32"] == pytest.approx(losses["cpu", "fp32"], rel=1e-4)
    assert losses["cuda", "bf16"] == pytest.approx(losses["cpu", "fp32"], rel=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_rank_over_nccl_learns_what_a_plain_run_does(
    options: dict[str, Any], tmp_path: Path, kind: str, precision: str
) -> None:
    options = {**options, "precision": precision}
    train(TrainConfig.from_dict({**options, "output": str(tmp_path / "plain")}))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**options, "output": str(tmp_path / "ranks"), "parallel": kind}))
    result = launch(1, "core.trainer", str(config))
    assert result.returncode == 0, result.stderr
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    assert losses_of(tmp_path / "ranks") == pytest.approx(losses_of(tmp_path / "plain"), rel=tolerance)


@pytest.fixture
def base(tokenizer: Tokenizer, tmp_path: Path) -> str:
    model = Transformer(dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.1))
    model.init_weights(seed=1)
    save_model(model, tmp_path / "base", tokenizer=tokenizer)
    return str(tmp_path / "base")


@pytest.mark.filterwarnings("ignore:inner dimension")  # of bitsandbytes: the tiny shape takes its slower way
def test_adapters_beside_a_4_bit_base_learn_from_documents_in_bf16(
    options: dict[str, Any], base: str, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    losses = []
    for device, precision in (("cpu", "fp32"), ("cuda", "bf16")):
        changes = {"device": device, "precision": precision, "output": str(tmp_path / device), "learning_rate": 0.01}
        adapters = {"base": base, "adapter": "lora", "base_quantization": "nf4"}
        train(TrainConfig.from_dict({**options, **adapters, **changes}))
        losses.append(losses_of(tmp_path / device))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_8_bit_averages_of_the_optimizer_learn_what_whole_ones_do(options: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    losses = []
    for optimizer in ("adamw", "adamw_8bit"):
        train(TrainConfig.from_dict({**options, "optimizer": optimizer, "output": str(tmp_path / optimizer)}))
        losses.append(losses_of(tmp_path / optimizer))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # torch's compiler looks at what it warns of
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_blocks_learn_from_pairs_of_many_widths(
    options: dict[str, Any], pair_data: Path, base: str, tmp_path: Path, precision: str
) -> None:
    """Each batch is as wide as its longest row, and has a mask of its own for FlexAttention."""
    losses = {}
    for compiles in ("off", "on"):
        sizes = {"max_seq_len": 96, "micro_batch_size": 1, "global_batch_size": 2, "precision": precision}
        changes = {"stage": "dpo", "data": str(pair_data), "base": base, "compile": compiles, "output": str(tmp_path)}
        trainer = Trainer(build_context(TrainConfig.from_dict({**options, **changes, **sizes}), resume=False), [])
        widths = {batch.input_ids.shape[1] for step in range(8) for batch in trainer._micro_batches(step)}
        assert len(widths) > 3
        losses[compiles] = [trainer.step().loss for _ in range(8)]
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-4 if precision == "fp32" else 2e-2)


def test_a_run_goes_on_from_its_checkpoint(options: dict[str, Any], tmp_path: Path) -> None:
    train(TrainConfig.from_dict({**options, "output": str(tmp_path / "whole")}))
    ended = TrainConfig.from_dict({**options, "output": str(tmp_path / "ended"), "checkpoint_interval_s": 1e-6})
    context = build_context(ended, resume=False)
    context.run.root.mkdir()
    context.run.config.write_text(json.dumps(ended.to_dict()))
    trainer, checkpoints = Trainer(context, []), CheckpointCallback()
    for _ in range(5):
        checkpoints.after_step(context, trainer.step())
    train(ended, resume=True)
    assert losses_of(tmp_path / "ended") == pytest.approx(losses_of(tmp_path / "whole")[5:], rel=1e-5)
