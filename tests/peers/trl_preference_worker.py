"""Runs in a Python that has TRL: JSON requests on standard input, their losses and metrics as JSON in the last line.

A request names a trainer (`dpo`, `kto` or `rm`), its options, the model and the reference, and pairs of token ids,
which are handed to the trainer as they are.
"""

import json
import sys
import tempfile

import torch
import trl_setting
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer


class DPO(DPOTrainer):
    def _prepare_dataset(self, dataset, *args):
        return dataset


class KTO(KTOTrainer):
    def _prepare_dataset(self, dataset, *args):
        return dataset


def dpo_rows(pair):
    return [{f"{name}_ids": pair[name] for name in ("prompt", "chosen", "rejected")}]


def kto_rows(pair):
    common = {"prompt_ids": pair["prompt"], "KL_completion_ids": pair["mismatched"]}
    return [{**common, "completion_ids": pair[name], "label": name == "chosen"} for name in ("chosen", "rejected")]


def rm_rows(pair):
    return [{f"{name}_ids": pair["prompt"] + pair[name] for name in ("chosen", "rejected")}]


KINDS = {
    "dpo": (DPO, DPOConfig, AutoModelForCausalLM, dpo_rows),
    "kto": (KTO, KTOConfig, AutoModelForCausalLM, kto_rows),
    "rm": (RewardTrainer, RewardConfig, AutoModelForSequenceClassification, rm_rows),
}


def answer(request):
    """Loss of all pairs in one batch, the norm of its gradient, and the trainer's metrics."""
    trainer_class, config_class, model_class, rows_of = KINDS[request["kind"]]
    rows = [row for pair in request["pairs"] for row in rows_of(pair)]
    with tempfile.TemporaryDirectory() as folder:
        config = config_class(
            output_dir=folder,
            per_device_train_batch_size=len(rows),
            **trl_setting.FIXED,
            **request.get("options", {}),
        )
        models = [
            model_class.from_pretrained(request[name], dtype=torch.float32)
            for name in ("model", "reference")
            if name in request
        ]
        references = {"ref_model": models[1]} if len(models) == 2 else {}
        trainer = trainer_class(
            model=models[0],
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=trl_setting.tokenizer(request["pad_id"]),
            **references,
        )
        loss = trainer.compute_loss(trainer.model.train(), trainer.data_collator(rows))
        loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in trainer.model.parameters() if p.grad is not None])
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items() if values}
    return {"loss": loss.item(), "grad_norm": norm.item(), "metrics": metrics}


torch.set_num_threads(1)
json.dump([answer(request) for request in json.load(sys.stdin)], sys.stdout, default=float)
