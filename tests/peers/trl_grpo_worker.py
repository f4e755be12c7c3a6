"""Runs in a Python that has TRL: GRPOTrainer on given completions; JSON in on standard input, JSON out in a last line.

A request names three models (`reference`; `old`, which drew; `policy`, which has moved on), groups of token ids, a
reward for each completion, the trainer's options and where to write the gradient. TRL computes all the rest itself:
advantages, old and reference log-probabilities, loss.
"""

import json
import sys
import tempfile

import torch
import trl_setting
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer


def answer(request):
    """Loss, advantages and the trainer's metrics."""
    rows = [
        (group["prompt"], completion, reward)
        for group in request["groups"]
        for completion, reward in zip(group["completions"], group["rewards"], strict=True)
    ]
    prompts, completions, rewards = map(list, zip(*rows, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(request["reference"], dtype=torch.float32),
            reward_funcs=lambda **_: rewards,
            args=GRPOConfig(
                output_dir=folder,
                per_device_train_batch_size=len(rows),
                num_generations=len(request["groups"][0]["completions"]),
                num_iterations=2,  # so that the old log-probabilities are computed
                **trl_setting.FIXED,
                **request["options"],
            ),
            train_dataset=Dataset.from_list([{"prompt": "given"}] * len(rows)),
            processing_class=trl_setting.tokenizer(request["pad_id"]),
            rollout_func=lambda *_: {"prompt_ids": prompts, "completion_ids": completions, "logprobs": None},
        )
        put(trainer.model.train(), request["old"])
        inputs = trainer._generate_and_score_completions([{"prompt": "given"}] * len(rows))
        put(trainer.model, request["policy"])
        trainer.current_gradient_accumulation_steps = 1
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
    gradients = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    save_file(gradients, request["gradients"])
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items() if values}
    return {"loss": loss.item(), "advantages": inputs["advantages"].tolist(), "metrics": metrics}


def put(model, folder):
    """Weights of a folder into the model; a tied head is not stored."""
    model.load_state_dict(load_file(f"{folder}/model.safetensors"), strict=False)


torch.set_num_threads(1)
json.dump([answer(request) for request in json.load(sys.stdin)], sys.stdout, default=float)
