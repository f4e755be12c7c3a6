"""Runs in a Python that has transformers and accelerate: the losses of Hugging Face's Trainer, step by step, as JSON.

The request names the model's folder, batches of `input_ids` and `labels` in order, and the optimiser's settings.
"""

import json
import sys
import tempfile
from typing import ClassVar

import torch
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments


class InOrder(Trainer):
    losses: ClassVar[list[float]] = []

    def _get_train_sampler(self, *arguments):
        return SequentialSampler(self.train_dataset)

    def compute_loss(self, *arguments, **others):
        """A micro batch's share of the step's loss; the logged one is rounded."""
        loss = super().compute_loss(*arguments, **others)
        self.losses.append(loss.item())
        return loss


def main():
    request = json.load(sys.stdin)
    torch.set_num_threads(1)
    rows = [{name: torch.tensor(row[name]) for name in ("input_ids", "labels")} for row in request["rows"]]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=request["micro_batch_size"],
            gradient_accumulation_steps=request["accumulation"],
            max_steps=request["steps"],
            logging_strategy="no",
            lr_scheduler_type="constant",
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **request["optimizer"],
        )
        model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32)
        trainer = InOrder(model=model, args=arguments, train_dataset=rows)
        trainer.train()
    size = request["accumulation"]
    steps = [sum(trainer.losses[first : first + size]) for first in range(0, len(trainer.losses), size)]
    json.dump(steps, sys.stdout)


main()
