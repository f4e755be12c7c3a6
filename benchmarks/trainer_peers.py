"""Hugging Face's Trainer and TRL's DPOTrainer as peers of `bench_train`, one step for each line that they read.

Imported by a Python that may lack everything but torch, transformers, trl, accelerate and datasets.

    python -m benchmarks.trainer_peers hf|trl REQUEST.json

The request names the model's folder, rows of token ids or pairs of them, rows a step, threads, and the optimiser's
settings. `step` -> seconds of the trainer's own loop, `facts` -> peak memory.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

MANY_STEPS = 10_000
IGNORED = -100


class OnRequest(TrainerCallback):
    """Lets the loop go on when a line asks for it, and answers with the time until the step's end."""

    def __init__(self) -> None:
        self._start = self._busy = 0.0

    def on_train_begin(self, *arguments: Any, **others: Any) -> None:
        self._wait()

    def on_step_end(self, *arguments: Any, **others: Any) -> None:
        answer({"seconds": time.perf_counter() - self._start, "cpu_s": time.process_time() - self._busy})
        self._wait()

    def _wait(self) -> None:
        for line in sys.stdin:
            if line.strip() == "step":
                self._start, self._busy = time.perf_counter(), time.process_time()
                return
            answer({"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})
        sys.exit()


def answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def options(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """Arguments that both trainers share: the same optimiser and schedule, and nothing beside the step."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": request["rows"],
        "learning_rate": request["learning_rate"],
        "adam_beta2": request["adam_beta2"],
        "weight_decay": 0.0,
        "max_grad_norm": request["max_grad_norm"],
        "lr_scheduler_type": "constant",
        "max_steps": request.get("max_steps", MANY_STEPS),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 1,
    }


def collate(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    """Rows of token ids, padded to the longest; a row without padding has no mask."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    is_token = torch.arange(width) < lengths[:, None]
    labels = ids.masked_fill(~is_token, IGNORED)
    return {"input_ids": ids, "labels": labels} | ({} if bool(is_token.all()) else {"attention_mask": is_token.long()})


def load(request: dict[str, Any]) -> Any:
    return AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32)


def hf_trainer(request: dict[str, Any], folder: str, callbacks: list[TrainerCallback]) -> Trainer:
    """Hugging Face's Trainer on rows of token ids, each token of which but the first is learnt."""
    return Trainer(
        model=load(request),
        args=TrainingArguments(**options(request, folder)),
        train_dataset=request["data"],
        data_collator=collate,
        callbacks=callbacks,
    )


def trl_trainer(request: dict[str, Any], folder: str, callbacks: list[TrainerCallback]) -> Trainer:
    """TRL's DPOTrainer on pairs of token ids, with the reference computed in each step."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    class OnIds(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *arguments: Any) -> Any:
            return dataset

    rows = [{f"{name}_ids": pair[name] for name in ("prompt", "chosen", "rejected")} for pair in request["data"]]
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>")),  # noqa: S106 - not a password
        pad_token="<pad>",  # noqa: S106
        eos_token="<eos>",  # noqa: S106
    )
    return OnIds(
        model=load(request),
        ref_model=load(request),
        args=DPOConfig(**options(request, folder), beta=request["beta"], max_length=None),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=callbacks,
    )


def main() -> None:
    kind, path = sys.argv[1:]
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    torch.set_num_threads(request["threads"])
    make = {"hf": hf_trainer, "trl": trl_trainer}[kind]
    with tempfile.TemporaryDirectory() as folder:
        make(request, folder, [OnRequest()]).train()


if __name__ == "__main__":
    main()
