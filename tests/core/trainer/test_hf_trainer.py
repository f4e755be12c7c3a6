"""Twenty steps of pre-training and fine-tuning against Hugging Face's Trainer, and against a plain loop."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from core.config.train_config import TrainConfig
from core.data.dataset import IGNORED, Batch
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from core.trainer.build_context import build_context
from core.trainer.trainer import Trainer
from tests.peers import trl_peer

STEPS = 20
OPTIMIZER = {"learning_rate": 3e-3, "adam_beta2": 0.95, "weight_decay": 0.0, "max_grad_norm": 1.0}
Options = Callable[..., dict[str, object]]


@pytest.fixture(params=["pt", "sft"])
def trainer(
    request: pytest.FixtureRequest,
    run_options: Options,
    chat_data: Path,
    text_data: Path,
    tmp_path: Path,
    tokenizer: Tokenizer,
) -> Trainer:
    """Two micro batches a step, of rows with one document each: the peers know no other."""
    data = {"pt": text_data, "sft": chat_data}[request.param]
    options = run_options(
        stage=request.param,
        max_seq_len=128,
        data=str(data),
        max_steps=STEPS,
        schedule={"kind": "constant", "warmup_ratio": 0.0},
        **OPTIMIZER,
    )
    context = build_context(TrainConfig.from_dict({**options, "stage": "pt", "data": str(text_data)}), resume=False)
    assert isinstance(context.model, Transformer)
    save_model(context.model, tmp_path / "base", tokenizer=tokenizer)
    context = build_context(TrainConfig.from_dict({**options, "base": str(tmp_path / "base")}), resume=False)
    return Trainer(context, [])


def single_documents(trainer: Trainer) -> list[Batch]:
    """The micro batches of all steps, each row cut to its first document and filled up with tokens without label."""
    context, batches = trainer.context, []
    size = context.config.micro_batch_size
    for step in range(STEPS):
        places = context.sampler.step_rows(step)
        for first in range(0, len(places), size):
            batch = context.train_rows.batch(places[first : first + size])
            labels = batch.labels.masked_fill(batch.document_ids != batch.document_ids[:, :1], IGNORED)
            positions = torch.arange(labels.shape[1]).expand_as(labels)
            learnt = int((labels != IGNORED).sum())
            batches.append(Batch(batch.input_ids, labels, positions, torch.zeros_like(labels), labels.numel(), learnt))
    return batches


def losses_of_ours(trainer: Trainer, batches: list[Batch], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    accumulation = len(batches) // STEPS
    turns = [batches[first : first + accumulation] for first in range(0, len(batches), accumulation)]
    monkeypatch.setattr(trainer, "_rows", SimpleNamespace(take=iter(turns).__next__, wait_s=0.0))
    losses = []
    for _ in range(STEPS):
        loss = trainer.step().metrics["loss"]
        losses.append(float(loss.total) / float(loss.weight))
    return losses


def shifted_back(batch: Batch) -> dict[str, Tensor]:
    """What Hugging Face's models shift themselves: a label stands at its own token, and a row is one token longer."""
    filler = torch.zeros(len(batch.labels), 1, dtype=torch.long)
    return {
        "input_ids": torch.cat((batch.input_ids, filler), dim=1),
        "labels": torch.cat((torch.full_like(filler, IGNORED), batch.labels), dim=1),
    }


def test_twenty_steps_equal_hugging_faces_trainer(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = single_documents(trainer)
    rows: list[Any] = [
        {name: values[i].tolist() for name, values in shifted_back(batch).items()}
        for batch in batches
        for i in range(len(batch.labels))
    ]
    request = {
        "model": str(tmp_path / "base"),
        "rows": rows,
        "micro_batch_size": trainer.context.config.micro_batch_size,
        "accumulation": len(batches) // STEPS,
        "steps": STEPS,
        "optimizer": OPTIMIZER,
    }
    theirs = trl_peer.ask("hf_trainer_worker.py", request)
    assert losses_of_ours(trainer, batches, monkeypatch) == pytest.approx(theirs, abs=1e-5)


def test_twenty_steps_equal_a_plain_loop_of_transformers(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = single_documents(trainer)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(
        peer.parameters(), lr=OPTIMIZER["learning_rate"], betas=(0.9, OPTIMIZER["adam_beta2"]), weight_decay=0.0
    )
    accumulation, theirs = len(batches) // STEPS, []
    for first in range(0, len(batches), accumulation):
        turn = [shifted_back(batch) for batch in batches[first : first + accumulation]]
        count = sum(int((batch["labels"] != IGNORED).sum()) for batch in turn)
        losses = [peer(**batch, num_items_in_batch=count).loss for batch in turn]
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), OPTIMIZER["max_grad_norm"])
        optimizer.step()
        optimizer.zero_grad()
        theirs.append(sum(loss.item() for loss in losses))
    assert losses_of_ours(trainer, batches, monkeypatch) == pytest.approx(theirs, abs=1e-5)
    assert theirs[-1] < theirs[0]
