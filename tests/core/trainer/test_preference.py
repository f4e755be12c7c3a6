"""Reward models and DPO: what is scored, that the split of a step changes nothing, and that every option has effect."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.config.model_config import PRESETS
from core.config.prepare_config import PrepareConfig
from core.config.train_config import TrainConfig
from core.data.mmap_file import MmapFileHandler
from core.data.pairs import PairBatch
from core.data.prepare import prepare
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError
from core.files import write_json
from core.model.checkpoint import load_model, save_model
from core.model.folder import is_reward_model
from core.model.heads import RewardModel, load_reward_model
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.callbacks import CheckpointCallback
from core.trainer.preference import answer_logprobs
from core.trainer.run_folder import read_metrics
from core.trainer.tally import Tally
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer
from tests.core.conftest import pairs, write_pairs

Options = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def base(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder to start from, with weights large enough to tell answers apart."""
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.1)
    model = Transformer(config)
    model.init_weights(seed=1)
    folder = tmp_path_factory.mktemp("base")
    save_model(model, folder, tokenizer=tokenizer)
    return folder


@pytest.fixture
def options(run_options: Options, pair_data: Path, base: Path) -> Options:
    """Options of a short run over pairs."""

    def changed(stage: str, **changes: Any) -> dict[str, Any]:
        return run_options(**{"stage": stage, "data": str(pair_data), "base": str(base), "max_seq_len": 96, **changes})

    return changed


def context_of(options: dict[str, Any], *, double: bool = False) -> TrainContext:
    context = build_context(TrainConfig.from_dict(options), resume=False)
    for model in (context.model, context.reference):
        if double and model is not None:
            model.double()
    return context


def gradients_of(context: TrainContext) -> tuple[float, dict[str, Tensor]]:
    """Mean loss of the first step, and the gradient of that mean."""
    trainer, tally = Trainer(context, []), Tally()
    for update in context.strategy.updates(context, trainer._micro_batches(0)):
        for batch in update:
            trainer._accumulate(batch, tally)
    loss = tally.local_totals()["loss"]
    trainer._scale_and_clip(1 / float(loss.weight))
    gradients = {name: copy.copy(p.grad) for name, p in context.model.named_parameters() if p.grad is not None}
    return float(loss.total) / float(loss.weight), gradients


def nudge(context: TrainContext) -> None:
    """Move the policy away from its reference."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in context.model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise.to(parameter.dtype), alpha=0.02)


STAGES = [("rm", {"reward_centring": 0.01}), ("dpo", {}), ("dpo", {"loss": "ipo"}), ("dpo", {"loss": "kto"})]


@pytest.mark.parametrize(("stage", "changes"), STAGES)
def test_loss_and_gradient_do_not_depend_on_the_micro_batch_size(
    options: Options, stage: str, changes: dict[str, Any]
) -> None:
    results = []
    for size in (1, 8):
        context = context_of(options(stage, micro_batch_size=size, global_batch_size=8, **changes), double=True)
        nudge(context)
        counts = {batch.num_pairs for batch in Trainer(context, [])._micro_batches(0)}
        results.append((gradients_of(context), counts))
    (single, counts), (together, _) = results
    assert len(counts) > 1, "rows with the same number of pairs would prove nothing"
    assert single[0] == pytest.approx(together[0], rel=1e-9)
    assert single[1].keys() == together[1].keys()
    for name, gradient in single[1].items():
        torch.testing.assert_close(gradient, together[1][name], rtol=1e-9, atol=1e-14)


def alone(model: Transformer, batch: PairBatch) -> list[Tensor]:
    """Log-probability of each answer from a sequence of its own."""
    flat, values = batch.input_ids.flatten(), []
    for number in range(len(batch.lengths)):
        target = batch.target[batch.sequence == number]
        prompt_end = int(batch.source[batch.sequence == number][0])
        prompt = flat[prompt_end - int(batch.position_ids.flatten()[prompt_end]) : prompt_end + 1]
        logits = model(torch.cat((prompt, target))[None])[0, len(prompt) - 1 : -1]
        values.append(logits.log_softmax(1).gather(1, target[:, None]).sum())
    return values


def test_answers_in_shared_rows_are_as_if_alone_with_their_prompt(options: Options) -> None:
    context = context_of(options("dpo", micro_batch_size=4), double=True)
    model, batch = context.policy, Trainer(context, [])._micro_batches(0)[0]
    assert batch.num_pairs > 4
    together, apart = answer_logprobs(model, batch), torch.stack(alone(model, batch))
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)
    weights = torch.randn(len(apart), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = torch.autograd.grad((together * weights).sum(), list(model.parameters()))
    expected = torch.autograd.grad((apart * weights).sum(), list(model.parameters()))
    for found, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_reward_is_read_at_the_end_of_each_answer_alone(options: Options) -> None:
    context = context_of(options("rm", micro_batch_size=4), double=True)
    model, batch = context.model, Trainer(context, [])._micro_batches(0)[0]
    assert isinstance(model, RewardModel)
    flat, positions, scores = batch.input_ids.flatten(), batch.position_ids.flatten(), []
    for number in range(len(batch.lengths)):
        prompt_end = int(batch.source[batch.sequence == number][0])
        prompt = flat[prompt_end - int(positions[prompt_end]) : prompt_end + 1]
        scores.append(model(torch.cat((prompt, batch.target[batch.sequence == number]))[None])[0, -1])
    chosen, rejected = torch.stack(scores)[0::2], torch.stack(scores)[1::2]
    loss = context.strategy.loss(context, batch)
    assert float(loss.total) == pytest.approx(float(-(chosen - rejected).sigmoid().log().sum()), rel=1e-9)
    assert float(loss.metrics["accuracy"].total) == int((chosen > rejected).sum())
    longer = sum(int(a > b) for a, b in batch.lengths.view(-1, 2).tolist())
    assert float(loss.metrics["chosen_is_longer"].total) == longer


FIRST_STEPS = [{"loss": "sigmoid"}, {"loss": "robust"}, {"adapter": "lora"}, {"adapter": "dora"}]


@pytest.mark.parametrize("changes", FIRST_STEPS)
def test_the_first_step_of_dpo_costs_ln_2_and_has_a_gradient(options: Options, changes: dict[str, Any]) -> None:
    loss, gradients = gradients_of(context_of(options("dpo", **changes)))
    assert loss == pytest.approx(math.log(2), abs=1e-6)
    assert math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values())) > 0.01


def test_the_text_of_the_prompt_gets_no_loss(options: Options) -> None:
    """The prompt's tokens are in no target, on neither side, so its own probability has no gradient."""
    context = context_of(options("dpo"))
    for batch in Trainer(context, [])._micro_batches(0):
        counted = int((batch.branch_ids > 0).sum())
        assert len(batch.target) == counted
        in_answers = batch.input_ids.flatten()[batch.branch_ids.flatten() > 0]
        assert torch.equal(in_answers, batch.target)


# What is the same in both runs, and what the second one adds.
EFFECTS = [
    *(({}, {"loss": loss}) for loss in ("hinge", "ipo", "simpo", "orpo", "kto")),
    ({"label_smoothing": 0.2}, {"loss": "robust"}),
    ({}, {"beta": 0.5}),
    ({}, {"sft_weight": 0.5}),
    ({"loss": "simpo"}, {"sft_weight": 0.5}),
    ({}, {"label_smoothing": 0.2}),
    ({"loss": "robust"}, {"label_smoothing": 0.2}),
    ({"loss": "simpo"}, {"simpo_margin": 1.5}),
    ({"loss": "kto"}, {"kto_chosen_weight": 2.0}),
    ({"loss": "kto"}, {"kto_rejected_weight": 2.0}),
]


def first_loss(options: dict[str, Any]) -> float:
    context = context_of(options)
    nudge(context)
    return gradients_of(context)[0]


@pytest.mark.parametrize(("same", "added"), EFFECTS)
def test_every_option_of_dpo_changes_the_loss(options: Options, same: dict[str, Any], added: dict[str, Any]) -> None:
    without, with_it = first_loss(options("dpo", **same)), first_loss(options("dpo", **same, **added))
    assert with_it != pytest.approx(without, rel=1e-3)


@pytest.mark.parametrize("changes", [{"reward_margin": 0.5}, {"reward_centring": 0.1}])
def test_every_option_of_rm_changes_the_loss(options: Options, changes: dict[str, Any]) -> None:
    assert first_loss(options("rm", **changes)) != pytest.approx(first_loss(options("rm")), rel=1e-4)


def test_options_of_other_stages_and_losses_are_refused_together(options: Options) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(options("dpo", loss="simpo", label_smoothing=0.1, cache_reference=True, reward_margin=1))
    for part in (
        "reward_margin belongs to stage rm, not to dpo",
        "label_smoothing belongs to the loss sigmoid and robust, not to simpo",
        "cache_reference is true, and the loss simpo has no reference",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("stage", ["rm", "dpo"])
def test_a_stage_of_pairs_needs_a_base(options: Options, stage: str) -> None:
    with pytest.raises(ConfigError, match=f"stage {stage} needs base"):
        TrainConfig.from_dict(options(stage, base=None))


def test_kto_takes_its_reference_point_from_mismatched_answers(options: Options) -> None:
    context = context_of(options("dpo", loss="kto", micro_batch_size=2), double=True)
    nudge(context)
    batches = Trainer(context, [])._micro_batches(0)
    list(context.strategy.updates(context, batches))
    assert context.reference is not None
    with torch.no_grad():
        ratios = [
            torch.stack(alone(context.policy, batch.mismatched))
            - torch.stack(alone(context.reference, batch.mismatched))
            for batch in batches
        ]
    expected = max(float(torch.cat(ratios).mean()), 0.0)
    assert expected != 0.0
    found = context.strategy.loss(context, batches[0]).metrics["kl"]
    assert float(found.total) == pytest.approx(expected, rel=1e-9)


def test_simpo_and_orpo_load_no_reference(options: Options) -> None:
    assert all(context_of(options("dpo", loss=loss)).reference is None for loss in ("simpo", "orpo"))


@pytest.mark.parametrize(
    ("stage", "changes"), [("rm", {}), ("dpo", {}), ("dpo", {"loss": "kto"}), ("dpo", {"loss": "orpo"})]
)
@pytest.mark.slow
def test_training_learns_the_preference(options: Options, stage: str, changes: dict[str, Any], tmp_path: Path) -> None:
    settings = options(stage, max_steps=25, learning_rate=0.003, micro_batch_size=4, validation_interval=25, **changes)
    folder = train(TrainConfig.from_dict(settings))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    trained, held_out = [row for row in rows if "loss" in row], [row for row in rows if "validation_loss" in row]
    assert trained[-1]["loss"] < trained[0]["loss"]
    assert trained[-1]["accuracy"] > 0.9
    assert trained[-1]["margin"] == pytest.approx(trained[-1]["chosen_reward"] - trained[-1]["rejected_reward"])
    assert held_out[-1]["validation_accuracy"] > 0.7
    assert (load_reward_model if stage == "rm" else load_model)(folder)


def test_a_stopped_reward_model_run_goes_on_as_if_it_had_not_been(options: Options, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(TrainConfig.from_dict(options("rm", output=str(whole))))
    config = TrainConfig.from_dict(options("rm", output=str(halves)))
    stop_after(config, steps=3)
    train(config, resume=True)
    assert (halves / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()
    assert is_reward_model(halves / "model")


def stop_after(config: TrainConfig, steps: int) -> None:
    """Run some steps and leave a checkpoint, as a stopped run does."""
    context = build_context(config, resume=False)
    context.run.root.mkdir(parents=True)
    write_json(context.run.config, config.to_dict())
    trainer = Trainer(context, [])
    for _ in range(steps):
        trainer.step()
    CheckpointCallback().at_end(context)


def test_pairs_as_the_app_writes_them_are_a_data_set(
    options: Options, base: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = [
        {
            "id": f"p{number}",
            "created_at": "2026-01-01T00:00:00Z",
            "source": "chat",
            "model": "starter",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"Question {number}?"},
                {"role": "assistant", "content": "Which one?"},
                {"role": "user", "content": f"The {number}th."},
            ],
            "chosen": f"It is {number}.",
            "rejected": f"I do not know {number} at all.",
            "note": None,
        }
        for number in range(24)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = PrepareConfig(workers=1, near_duplicate_threshold=1.0, min_chars=1)
    report = prepare([file], tmp_path / "data", tokenizer, config)
    assert (report.kind, report.num_problems) == ("preference", 0)
    folder = train(TrainConfig.from_dict(options("dpo", data=str(tmp_path / "data"), max_seq_len=128, max_steps=2)))
    assert (folder / "config.json").exists()


def test_equal_answers_are_an_example_and_no_preference(options: Options, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Their loss is that of SFT alone, and they are in no figure of pairs."""
    examples = [dataclasses.replace(pair, rejected=pair.chosen) for pair in pairs(6, seed=5)]
    write_pairs(tmp_path / "same", tokenizer, examples)
    context = context_of(options("dpo", data=str(tmp_path / "same"), sft_weight=2.0), double=True)
    nudge(context)
    batch = Trainer(context, [])._micro_batches(0)[0]
    with torch.no_grad():
        loss = context.strategy.loss(context, batch)
        per_token = answer_logprobs(context.policy, batch)[0::2] / batch.lengths[0::2]
    assert not batch.differ.any()
    assert float(loss.total) == pytest.approx(-2.0 * float(per_token.sum()), rel=1e-9)
    assert {name: float(mean.weight) for name, mean in loss.metrics.items()}["accuracy"] == 0


def test_a_step_of_examples_alone_has_no_figures_of_pairs(
    options: Options, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """A user likes more answers than they correct, and a small model takes one row a step."""
    examples = [dataclasses.replace(pair, rejected=pair.chosen) for pair in pairs(6, seed=5)]
    write_pairs(tmp_path / "same", tokenizer, examples)
    folder = train(TrainConfig.from_dict(options("dpo", data=str(tmp_path / "same"), max_steps=2, log_interval=1)))
    rows = [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert len(steps) == 2
    assert all({"loss", "chosen_logprob"} < row.keys() and "accuracy" not in row for row in steps)


def test_conversations_are_taken_among_the_pairs_where_that_is_asked_for(tokenizer: Tokenizer, tmp_path: Path) -> None:
    said = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The brown fox."}]}
    pair = {"prompt": "Who sleeps?", "chosen": "The dog.", "rejected": "The river."}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, [pair, said])), encoding="utf-8")
    counts = [
        prepare(
            [tmp_path / "rows.jsonl"],
            tmp_path / f"replay {replay}",
            tokenizer,
            PrepareConfig(kind="preference", replay=replay, validation_ratio=0, workers=1),
        ).num_other_kinds
        for replay in (False, True)
    ]
    assert counts == [1, 0]
    handler = MmapFileHandler(tmp_path / "replay True")
    assert handler.num_documents("train") == 4
    assert handler.tokens("train", 2).tolist() == handler.tokens("train", 3).tolist()
