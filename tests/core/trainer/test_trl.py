"""Reward model, DPO, KTO and GRPO against TRL's own trainers: the same weights and texts give its losses and metrics.

TRL 1.16 has no PPO any more; `test_rl_losses` holds its formulas by values computed by hand.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import core.trainer.rlhf
from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.pairs import PairBatch
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import load_model, save_model
from core.model.heads import RewardModel
from core.model.transformer import Transformer
from core.trainer.build_context import build_context
from core.trainer.experience import ExperienceBatch
from core.trainer.optimizer import named_parameters
from core.trainer.rollout import Completion, Draw
from core.trainer.tally import Tally
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer
from tests.peers import trl_peer

Options = Callable[..., dict[str, Any]]

# Our loss, our options, TRL's.
DPO_CASES = {
    "sigmoid": ({}, {"loss_type": ["sigmoid"]}),
    "robust": ({"label_smoothing": 0.2}, {"loss_type": ["robust"], "label_smoothing": 0.2}),
    "hinge": ({"beta": 0.3}, {"loss_type": ["hinge"], "beta": 0.3}),
    "ipo": ({}, {"loss_type": ["ipo"]}),
}
GRPO_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({"kl_coef": 0.0}, {"loss_type": "grpo", "beta": 0.0}),
    "grpo with kl": ({"kl_coef": 0.3}, {"loss_type": "grpo", "beta": 0.3}),
    "bnpo": ({"kl_coef": 0.0, "grpo_aggregation": "bnpo"}, {"loss_type": "bnpo", "beta": 0.0}),
    "bnpo with kl": ({"kl_coef": 0.3, "grpo_aggregation": "bnpo"}, {"loss_type": "bnpo", "beta": 0.3}),
    "dr_grpo": (
        {"kl_coef": 0.0, "grpo_aggregation": "dr_grpo", "scale_rewards": False},
        {"loss_type": "dr_grpo", "beta": 0.0, "scale_rewards": "none"},
    ),
    "dr_grpo with kl": (
        {"kl_coef": 0.3, "grpo_aggregation": "dr_grpo", "scale_rewards": False},
        {"loss_type": "dr_grpo", "beta": 0.3, "scale_rewards": "none"},
    ),
    "gspo with kl": (
        {"kl_coef": 0.3, "policy_loss": "gspo"},
        {"loss_type": "grpo", "beta": 0.3, "importance_sampling_level": "sequence"},
    ),
    "cispo with kl": (
        {"kl_coef": 0.3, "policy_loss": "cispo", "cispo_max_ratio": 1.1, "grpo_aggregation": "bnpo"},
        {"loss_type": "cispo", "beta": 0.3, "epsilon_high": 1.1},
    ),
    "dapo at another temperature and clip": (
        {"kl_coef": 0.1, "grpo_aggregation": "bnpo", "temperature": 0.7, "clip_range": 0.05},
        {"loss_type": "dapo", "beta": 0.1, "temperature": 0.7, "epsilon": 0.05},
    ),
}
NUM_GENERATIONS, MAX_NEW_TOKENS = 4, 8
# The second prompt's completions are worth the same.
REWARDS = [1.0, 0.0, 0.5, 0.0, 0.3, 0.3, 0.3, 0.3, -2.0, 1.5, 0.25, 4.0]
# TRL's names of our metrics.
NAMES = {
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "logps/chosen": "chosen_logprob",
    "logps/rejected": "rejected_logprob",
    "kl": "kl",
}


@pytest.fixture(scope="module")
def models(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `reference`; `old`, which has moved away from it; `policy`, which has moved further; and `rm`."""
    trl_peer.require()
    folder = tmp_path_factory.mktemp("models")
    config = dataclasses.replace(
        PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.1, pad_token_id=tokenizer.pad_id
    )
    model = Transformer(config)
    model.init_weights(seed=1)
    save_model(model, folder / "reference", tokenizer=tokenizer)
    generator = torch.Generator().manual_seed(2)
    for name in ("old", "policy"):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
        save_model(model, folder / name, tokenizer=tokenizer)
    save_model(RewardModel.from_backbone(model, seed=3), folder / "rm", tokenizer=tokenizer)
    return folder


@pytest.fixture
def context_of(run_options: Options, pair_data: Path, models: Path) -> Callable[..., TrainContext]:
    """The first step of a run whose policy is `policy` and whose base is `reference`."""

    def built(stage: str, **changes: Any) -> TrainContext:
        base = {"rm": "rm", "dpo": "reference"}[stage]
        options = {"data": str(pair_data), "base": str(models / base), "max_seq_len": 96, "micro_batch_size": 4}
        context = build_context(TrainConfig.from_dict(run_options(stage=stage, **options, **changes)), resume=False)
        if stage == "dpo":
            context.model.load_state_dict(load_model(models / "policy").state_dict())
        return context

    return built


def pairs_of(batch: PairBatch) -> list[dict[str, list[int]]]:
    flat, positions = batch.input_ids.flatten(), batch.position_ids.flatten()

    def answers(part: PairBatch) -> list[list[int]]:
        return [part.target[part.sequence == number].tolist() for number in range(len(part.lengths))]

    found = []
    for number in range(batch.num_pairs):
        prompt_end = int(batch.source[batch.sequence == 2 * number][0])
        prompt = flat[prompt_end - int(positions[prompt_end]) : prompt_end + 1].tolist()
        chosen, rejected = answers(batch)[2 * number : 2 * number + 2]
        found.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        if batch.mismatched is not None:
            found[-1]["mismatched"] = answers(batch.mismatched)[number]
    return found


def check(context: TrainContext, kind: str, models: Path, options: dict[str, Any], names: dict[str, str]) -> None:
    """Loss, gradient norm and metrics of one micro batch against TRL's."""
    trainer, tally = Trainer(context, []), Tally()
    batch = trainer._micro_batches(0)[0]
    folders = {"model": "rm"} if kind == "rm" else {"model": "policy", "reference": "reference"}
    request = {
        "kind": kind,
        "pairs": pairs_of(batch),
        "options": options,
        "pad_id": context.tokenizer.pad_id,
        **{name: str(models / folder) for name, folder in folders.items()},
    }
    assert batch.num_pairs > 4
    theirs = trl_peer.ask("trl_preference_worker.py", [request])[0]
    list(context.strategy.updates(context, [batch]))
    trainer._accumulate(batch, tally)
    norm = trainer._scale_and_clip(1 / float(tally.local_totals()["loss"].weight))
    ours = tally.means(context.ranks)
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    assert norm == pytest.approx(theirs["grad_norm"], rel=1e-4)
    for name, own in names.items():
        assert ours[own] == pytest.approx(theirs["metrics"][name], rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize("loss", DPO_CASES)
def test_dpo_is_trls(context_of: Callable[..., TrainContext], models: Path, loss: str) -> None:
    changes, options = DPO_CASES[loss]
    names = {name: own for name, own in NAMES.items() if own != "kl"}
    check(context_of("dpo", loss=loss, **changes), "dpo", models, options, names)


def test_kto_is_trls(context_of: Callable[..., TrainContext], models: Path) -> None:
    options = {"train_sampling_strategy": "sequential", "beta": 0.2}
    names = {name: NAMES[name] for name in ("kl", "rewards/chosen", "rewards/rejected")}
    check(context_of("dpo", loss="kto", beta=0.2), "kto", models, options, names)


def test_the_reward_model_is_trls(context_of: Callable[..., TrainContext], models: Path) -> None:
    names = {"accuracy": "accuracy", "margin": "margin"}
    check(context_of("rm", reward_centring=0.05), "rm", models, {"center_rewards_coefficient": 0.05}, names)


@pytest.mark.timeout(300)  # nine trainers of TRL's
def test_grpo_is_trls(
    run_options: Options, chat_data: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same completions and rewards: advantages, losses, metrics and the whole gradient, for every kind of loss.

    The divergence is DeepSeekMath's: TRL weighs it by the ratio unless told not to.
    """
    monkeypatch.setattr(core.trainer.rlhf, "complete", random_completions)
    sizes = {"num_generations": NUM_GENERATIONS, "global_batch_size": 3, "micro_batch_size": 3, "max_seq_len": 96}
    fixed = {**sizes, "max_new_tokens": MAX_NEW_TOKENS, "max_grad_norm": 0.0, "rollout_epochs": 2}
    options = run_options(stage="grpo", data=str(chat_data), base=str(models / "reference"), **fixed)
    contexts, batches, requests = {}, {}, []
    for name, (changes, their_options) in GRPO_CASES.items():
        config = TrainConfig.from_dict({**options, **changes})
        contexts[name] = context = build_context(config, resume=False, reward=lambda *_: REWARDS)
        batches[name] = batch = first_update(context, models)
        requests.append({
            **{folder: str(models / folder) for folder in ("reference", "old", "policy")},
            "groups": groups_of(batch),
            "options": {"max_completion_length": MAX_NEW_TOKENS, "use_bias_correction_kl": False, **their_options},
            "pad_id": context.tokenizer.pad_id,
            "gradients": str(tmp_path / f"{name}.safetensors"),
        })  # fmt: skip
    for name, theirs in zip(GRPO_CASES, trl_peer.ask("trl_grpo_worker.py", requests), strict=True):
        check_grpo(name, contexts[name], batches[name], theirs, load_file(tmp_path / f"{name}.safetensors"))


def random_completions(_: Transformer, draws: Sequence[Draw], *__: object) -> list[Completion]:
    """What could have been drawn, of many lengths."""
    generator = torch.Generator().manual_seed(4)
    lengths = torch.randint(1, MAX_NEW_TOKENS + 1, (len(draws),), generator=generator).tolist()
    ids = [torch.randint(4, 400, (length,), generator=generator).tolist() for length in lengths]
    return [Completion(frozenset(), completion) for completion in ids]


def first_update(context: TrainContext, models: Path) -> ExperienceBatch:
    """The only micro batch of the first update on what the weights `old` drew; the model then holds `policy`."""
    context.model.load_state_dict(load_model(models / "old").state_dict())
    (batch,) = next(context.strategy.updates(context, Trainer(context, [])._micro_batches(0)))
    context.model.load_state_dict(load_model(models / "policy").state_dict())
    return batch


def groups_of(batch: ExperienceBatch) -> list[dict[str, Any]]:
    rows, size = batch.rows, NUM_GENERATIONS
    flat, positions = rows.input_ids.flatten(), rows.position_ids.flatten()
    groups = []
    for first in range(0, batch.num_sequences, size):
        prompt_end = int(rows.source[rows.sequence == first][0])
        prompt = flat[prompt_end - int(positions[prompt_end]) : prompt_end + 1].tolist()
        completions = [rows.target[rows.sequence == number].tolist() for number in range(first, first + size)]
        groups.append({"prompt": prompt, "completions": completions, "rewards": REWARDS[first : first + size]})
    return groups


def check_grpo(
    name: str, context: TrainContext, batch: ExperienceBatch, theirs: dict[str, Any], gradients: dict[str, Tensor]
) -> None:
    """Advantages, loss and metrics to 1e-5, and each gradient to 1e-5 of the largest."""
    trainer, tally = Trainer(context, []), Tally()
    starts = batch.rows.lengths.cumsum(0) - batch.rows.lengths
    assert batch.tokens["advantages"][starts].tolist() == pytest.approx(theirs["advantages"], abs=1e-5), name
    trainer._accumulate(batch, tally)
    trainer._scale_and_clip(1 / float(tally.local_totals()["loss"].weight))
    ours, metrics = tally.means(context.ranks), theirs["metrics"]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5), name
    for key in ("reward", "entropy", "kl"):
        assert ours.get(key) == pytest.approx(metrics.get(key), abs=1e-5), f"{key} of {name}"
    assert ours["clip_fraction"] > 0.05, "nothing would be seen of the clipping"
    own = {key: parameter.grad for key, parameter in named_parameters(context.trained).items()}
    assert own.keys() == gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for key, gradient in gradients.items():
        assert own[key] is not None
        assert float((own[key] - gradient).abs().max()) < 1e-5 * largest, f"{key} of {name}"
