"""Reward model, DPO and KTO against TRL's own trainers: the same weights and pairs give its losses and metrics."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.pairs import PairBatch
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import load_model, save_model
from core.model.heads import RewardModel
from core.model.transformer import Transformer
from core.trainer.build_context import build_context
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
    """Folders `reference`, `policy`, which has moved away from it, and `rm`."""
    trl_peer.require()
    folder = tmp_path_factory.mktemp("models")
    config = dataclasses.replace(
        PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.1, pad_token_id=tokenizer.pad_id
    )
    model = Transformer(config)
    model.init_weights(seed=1)
    save_model(model, folder / "reference", tokenizer=tokenizer)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    save_model(model, folder / "policy", tokenizer=tokenizer)
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
