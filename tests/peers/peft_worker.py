"""Runs in a Python that has PEFT: a JSON list of requests on standard input, logits of each in the output's last line.

`create` makes an adapter of random values with the given settings and saves it; otherwise `adapter` is opened.
"""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM


@torch.no_grad()
def logits(base: str, adapter: str, ids: list[int], create: dict[str, object] | None = None) -> list[list[float]]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if create is None:
        adapted = PeftModel.from_pretrained(model, adapter)
    else:
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **create))
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        adapted.save_pretrained(adapter)
    return adapted.eval()(torch.tensor([ids])).logits[0].tolist()


torch.set_num_threads(1)
torch.manual_seed(0)
json.dump([logits(**request) for request in json.load(sys.stdin)], sys.stdout)
