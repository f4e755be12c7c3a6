"""Learning from rewards: the reward rises, the step does not depend on the split, a resumed run is the same run."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import core.trainer.rollout
from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError, TrainingError
from core.inference.torch_runner import TorchRunner
from core.model.checkpoint import save_model
from core.model.heads import RewardModel
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.callbacks import CheckpointCallback, validate
from core.trainer.run_folder import RunFolder, read_metrics
from core.trainer.tally import Tally
from core.trainer.trainer import Trainer
from tests.core.conftest import sentences

Options = Callable[..., dict[str, Any]]


def share_of_vowels(_: Sequence[str], completions: Sequence[str]) -> list[float]:
    return [sum(char in "aeiou" for char in text) / max(len(text), 1) for text in completions]


@pytest.fixture
def base(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A policy with fresh weights."""
    model = Transformer(dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size))
    model.init_weights(seed=1)
    save_model(model, tmp_path / "base", tokenizer=tokenizer)
    return tmp_path / "base"


@pytest.fixture
def rl_options(run_options: Options, chat_data: Path, base: Path) -> Options:
    def options(**changes: Any) -> dict[str, Any]:
        common = {"stage": "grpo", "data": str(chat_data), "base": str(base), "max_seq_len": 96, "max_new_tokens": 8}
        sizes = {"num_generations": 4, "global_batch_size": 4, "micro_batch_size": 4, "max_steps": 3}
        return run_options(**{**common, **sizes, **changes})

    return options


def run(options: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train; the rows of the steps."""
    train(TrainConfig.from_dict(options), reward=share_of_vowels)
    return steps(folder)


def steps(folder: Path) -> list[dict[str, Any]]:
    return [row for row in read_metrics(RunFolder(folder).metrics) if "reward" in row]


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("grpo", {}),
        ("grpo", {"num_minibatches": 2, "rollout_epochs": 2, "policy_loss": "gspo"}),
        ("ppo", {"rollout_epochs": 2}),
    ],
)
@pytest.mark.slow
def test_the_reward_rises(rl_options: Options, tmp_path: Path, stage: str, changes: dict[str, Any]) -> None:
    common = {"max_steps": 30, "num_generations": 8, "learning_rate": 0.01, "kl_coef": 0.01}
    options = rl_options(stage=stage, **{**common, **changes})
    rows = run(options, tmp_path / "run")
    rewards = [row["reward"] for row in rows]
    assert sum(rewards[-5:]) > 2 * sum(rewards[:5])
    assert all(math.isfinite(row[name]) for row in rows for name in ("kl", "entropy", "ratio", "loss"))
    assert rows[-1]["kl"] > 0.1


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("grpo", {}),
        ("grpo", {"grpo_aggregation": "bnpo"}),
        ("grpo", {"grpo_aggregation": "dr_grpo", "policy_loss": "gspo"}),
        ("ppo", {}),
    ],
)
def test_the_gradient_does_not_depend_on_the_micro_batch_size(
    rl_options: Options, stage: str, changes: dict[str, Any]
) -> None:
    gradients, counts = [], []
    for size in (1, 4):
        config = TrainConfig.from_dict(rl_options(stage=stage, micro_batch_size=size, num_generations=6, **changes))
        context = build_context(config, resume=False, reward=share_of_vowels)
        assert context.reference is not None
        context.reference.double()
        for module in context.trained.values():
            module.double()
        trainer, tally = Trainer(context, []), Tally()
        (batches,) = context.strategy.updates(context, trainer._micro_batches(0))
        counts.append(len(batches))
        for batch in batches:
            trainer._accumulate(batch, tally)
        trainer._scale_and_clip(1 / float(tally.local_totals()["loss"].weight))
        gradients.append([p.grad for module in context.trained.values() for p in module.parameters()])
    assert counts[0] > counts[1]
    assert max(gradient.abs().max() for gradient in gradients[0]) > 1e-3
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("stage", ["grpo", "ppo"])
def test_a_resumed_run_is_bit_equal_to_the_uninterrupted_one(rl_options: Options, tmp_path: Path, stage: str) -> None:
    changes = {"stage": stage, "max_steps": 4, "rollout_epochs": 2, "num_minibatches": 2, "learning_rate": 0.01}
    whole = run(rl_options(output=str(tmp_path / "whole"), **changes), tmp_path / "whole")
    options = rl_options(**changes)
    context = build_context(TrainConfig.from_dict(options), resume=False, reward=share_of_vowels)
    trainer = Trainer(context, [])
    trainer.step(), trainer.step()
    CheckpointCallback().at_end(context)
    train(TrainConfig.from_dict(options), resume=True, reward=share_of_vowels)
    resumed = steps(tmp_path / "run")
    assert [row["reward"] for row in resumed] == [row["reward"] for row in whole[2:]]
    assert [row["loss"] for row in resumed] == [row["loss"] for row in whole[2:]]
    folders = [RunFolder(tmp_path / name).checkpoint(4) for name in ("whole", "run")]
    names = [sorted(path.name for path in folder.glob("*safetensors")) for folder in folders]
    assert names[0] == names[1]
    assert ("value.safetensors" in names[0]) == (stage == "ppo")
    for name in names[0]:
        whole_tensors, resumed_tensors = (load_file(folder / name) for folder in folders)
        assert whole_tensors.keys() == resumed_tensors.keys()
        assert all(torch.equal(whole_tensors[key], resumed_tensors[key]) for key in whole_tensors)


def test_the_first_step_has_no_loss_and_a_gradient(rl_options: Options, tmp_path: Path) -> None:
    first, *_ = run(rl_options(kl_coef=0, max_steps=1), tmp_path / "run")
    assert first["loss"] == pytest.approx(0, abs=1e-6)
    assert first["grad_norm"] > 0.01
    assert (first["ratio"], first["clip_fraction"]) == (1, 0)
    assert "kl" not in first


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_an_unchanged_policy_has_no_divergence(rl_options: Options, tmp_path: Path, adapter: str) -> None:
    options = rl_options(adapter=adapter, max_steps=2, learning_rate=0.01, schedule={"warmup_ratio": 0.0})
    rows = run(options, tmp_path / "run")
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["kl"] > 1e-4


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        *((stage, change) for stage in ("grpo", "ppo") for change in (
            {"kl_coef": 1.0}, {"clip_range": 0.01}, {"temperature": 0.7}, {"max_new_tokens": 4}, {"num_generations": 3},
            {"missing_eos_penalty": 1.0}, {"rollout_epochs": 2}, {"num_minibatches": 4},
        )),
        *(("ppo", change) for change in (
            {"gamma": 0.5}, {"gae_lambda": 0.5}, {"value_coef": 3.0}, {"value_clip_range": 0.001},
        )),
        *(("grpo", change) for change in (
            {"policy_loss": "gspo"}, {"policy_loss": "cispo"}, {"policy_loss": "cispo", "cispo_max_ratio": 1.0},
            {"grpo_aggregation": "bnpo"}, {"grpo_aggregation": "dr_grpo"}, {"scale_rewards": False},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_every_option_changes_what_is_learnt(
    rl_options: Options, tmp_path: Path, stage: str, changes: dict[str, Any]
) -> None:
    """Completions of one length would make some aggregations equal: the policy ends early now and then."""
    common = {"stage": stage, "max_steps": 2, "num_minibatches": 2, "learning_rate": 0.02, "temperature": 1.0}
    plain = {"policy_loss": "cispo"} if "cispo_max_ratio" in changes else {}
    weights = []
    for name, options in (("one", plain), ("other", changes)):
        train(
            TrainConfig.from_dict(rl_options(output=str(tmp_path / name), **{**common, **options})),
            reward=early_ends,
        )
        weights.append(load_file(tmp_path / name / "model" / "model.safetensors")["model.embed_tokens.weight"])
    assert not torch.equal(*weights)


def early_ends(_: Sequence[str], completions: Sequence[str]) -> list[float]:
    return [-float(len(text)) for text in completions]


@pytest.mark.parametrize("stage", ["grpo", "ppo"])
def test_a_heavier_divergence_keeps_the_policy_nearer(rl_options: Options, tmp_path: Path, stage: str) -> None:
    kls = []
    for kl_coef in (0.01, 5.0):
        output = tmp_path / str(kl_coef)
        options = rl_options(stage=stage, kl_coef=kl_coef, output=str(output), max_steps=12, learning_rate=0.01)
        kls.append(run(options, output)[-1]["kl"])
    assert kls[1] < 0.5 * kls[0]


def test_completions_that_are_cut_become_rarer_where_they_cost(rl_options: Options, tmp_path: Path) -> None:
    options = rl_options(max_steps=30, num_generations=16, learning_rate=0.01, missing_eos_penalty=1.0, kl_coef=0.0)
    train(TrainConfig.from_dict(options), reward=lambda _, completions: [0.0] * len(completions))
    rows = steps(tmp_path / "run")
    assert rows[0]["cut"] > 0.9
    assert rows[-1]["cut"] < 0.5
    assert rows[-1]["length"] < rows[0]["length"]
    assert {row["reward"] for row in rows} == {0.0}, "the penalty is no part of the reward that is shown"


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (2, 1), (3, 2)])
def test_a_step_makes_an_update_for_each_minibatch_of_each_epoch(
    rl_options: Options, epochs: int, minibatches: int
) -> None:
    config = TrainConfig.from_dict(rl_options(rollout_epochs=epochs, num_minibatches=minibatches))
    context = build_context(config, resume=False, reward=share_of_vowels)
    Trainer(context, []).step()
    (optimizer,) = context.optimizers
    assert {int(state["step"]) for state in optimizer.state.values()} == {epochs * minibatches}
    assert context.step == 1


def test_completions_are_drawn_in_batches_of_the_size_that_memory_allows(
    rl_options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[int] = []

    class CountingRunner(TorchRunner):
        def __init__(self, model: Transformer, num_blocks: int) -> None:
            blocks.append(num_blocks)
            super().__init__(model, num_blocks)

    monkeypatch.setattr(core.trainer.rollout, "TorchRunner", CountingRunner)
    for size in (2, 256):
        config = TrainConfig.from_dict(rl_options(rollout_batch_size=size))
        Trainer(build_context(config, resume=False, reward=share_of_vowels), []).step()
    assert blocks[1] == 8 * blocks[0], "all 16 completions of a step instead of 2"


def test_held_out_prompts_are_answered_the_same_each_time(rl_options: Options, pair_data: Path) -> None:
    seen: list[Sequence[str]] = []

    def reward(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        seen.append([*prompts, *completions])
        return share_of_vowels(prompts, completions)

    config = TrainConfig.from_dict(rl_options(data=str(pair_data)))
    context = build_context(config, resume=False, reward=reward)
    first, second = validate(context), validate(context)
    assert first == second
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2 * 8, "a prompt and a completion for each of the held-out pairs"
    assert first["validation_kl"] == pytest.approx(0, abs=1e-6)
    assert first["validation_entropy"] == pytest.approx(math.log(context.policy.config.vocab_size), rel=0.05)
    assert 0 < first["validation_length"] <= 8
    assert context.strategy.score(first) == -first["validation_reward"]


@pytest.fixture
def reward_model(base: Path, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A reward model with a fresh head that is large enough to tell texts apart."""
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.2)
    backbone = Transformer(config)
    backbone.init_weights(seed=3)
    save_model(RewardModel.from_backbone(backbone, seed=4), tmp_path / "reward", tokenizer=tokenizer)
    return tmp_path / "reward"


@pytest.mark.parametrize("stage", ["grpo", pytest.param("ppo", marks=pytest.mark.long)])
@pytest.mark.slow
def test_a_reward_model_is_followed(rl_options: Options, reward_model: Path, tmp_path: Path, stage: str) -> None:
    options = rl_options(
        stage=stage, max_steps=40, num_generations=16, learning_rate=0.02, kl_coef=0.0, reward_model=str(reward_model)
    )
    train(TrainConfig.from_dict(options))
    rewards = [row["reward"] for row in steps(tmp_path / "run")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 1


def test_a_reward_model_scores_the_last_token_of_each_completion(
    rl_options: Options, reward_model: Path, tokenizer: Tokenizer
) -> None:
    config = TrainConfig.from_dict(rl_options(reward_model=str(reward_model)))
    context = build_context(config, resume=False)
    trainer = Trainer(context, [])
    experience = context.strategy._roll_out(context, trainer._micro_batches(0))
    model = context.strategy._reward.model
    for group in experience.groups:
        for number, ids in group.completions.items():
            alone = model(torch.tensor([[*group.prompt_ids, *ids]]))[0, -1]
            assert experience.rewards[number] == pytest.approx(alone.item(), abs=1e-4)


def test_the_value_model_begins_as_the_reward_model(rl_options: Options, reward_model: Path) -> None:
    config = TrainConfig.from_dict(rl_options(stage="ppo", reward_model=str(reward_model)))
    context = build_context(config, resume=False)
    assert context.value is not None
    before = load_file(reward_model / "model.safetensors")
    assert all(torch.equal(before[name], value) for name, value in context.value.state_dict().items())
    Trainer(context, []).step()
    assert not torch.equal(before["score.weight"], context.value.state_dict()["score.weight"])
    assert torch.equal(before["score.weight"], context.strategy._reward.model.score.weight), "what rewards is frozen"


def test_a_reward_model_with_another_tokenizer_is_refused(rl_options: Options, base: Path, tmp_path: Path) -> None:
    other = Tokenizer.train(sentences(300, seed=9), vocab_size=400)
    backbone = Transformer(dataclasses.replace(PRESETS["tiny"], vocab_size=other.vocab_size))
    backbone.init_weights(seed=1)
    save_model(RewardModel.from_backbone(backbone, seed=1), tmp_path / "reward", tokenizer=other)
    config = TrainConfig.from_dict(rl_options(reward_model=str(tmp_path / "reward")))
    with pytest.raises(ModelError, match=r"another tokenizer .* than the policy"):
        build_context(config, resume=False)


def test_a_run_needs_one_reward(rl_options: Options, reward_model: Path) -> None:
    with pytest.raises(ConfigError, match="There is no reward"):
        build_context(TrainConfig.from_dict(rl_options()), resume=False)
    with pytest.raises(ConfigError, match="and a reward function too"):
        build_context(
            TrainConfig.from_dict(rl_options(reward_model=str(reward_model))), resume=False, reward=share_of_vowels
        )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_names_its_row(rl_options: Options, bad: float) -> None:
    with pytest.raises(TrainingError, match=r"The reward of row 5 is (nan|inf), of the completion '.*' to '"):
        train(
            TrainConfig.from_dict(rl_options()),
            reward=lambda _, completions: [bad if row == 5 else 1.0 for row in range(len(completions))],
        )


def test_a_reward_function_that_leaves_some_out_is_named(rl_options: Options) -> None:
    with pytest.raises(TrainingError, match=r"gave 3 rewards for 16 completions"):
        train(TrainConfig.from_dict(rl_options()), reward=lambda *_: [0.0] * 3)


def test_a_config_lists_all_that_is_wrong_with_its_rollouts(rl_options: Options) -> None:
    options = rl_options(num_generations=1, max_new_tokens=96, num_minibatches=3, gamma=0.5)
    del options["base"]
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(options)
    for part in (
        "num_generations 1 is no group",
        "max_new_tokens 96 leaves no room",
        "num_minibatches 3 does not divide global_batch_size 4",
        "gamma belongs to stage ppo",
        "stage grpo needs base",
    ):
        assert part in caught.value.message
