"""The optimisers of a run, with decay on matrices only.

`adamw` is AdamW for all weights (Loshchilov & Hutter 2019). `muon` orthogonalises the update of the
blocks' matrices and leaves embeddings, head and norms to AdamW, at the same learning rate.
"""

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from core.config.train_config import TrainConfig
from core.model.transformer import Transformer
from core.trainer.muon import Muon


def build_optimizers(model: Transformer, config: TrainConfig, device: torch.device) -> list[Optimizer]:
    """One or two optimisers that together own every parameter once."""
    hidden = {id(p) for p in model.model.layers.parameters() if p.dim() > 1} if config.optimizer == "muon" else set()
    rest = [parameter for parameter in model.parameters() if id(parameter) not in hidden]
    groups = [
        {"params": [parameter for parameter in rest if parameter.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in rest if parameter.dim() == 1], "weight_decay": 0.0},
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    optimizers: list[Optimizer] = [
        AdamW(groups, lr=config.learning_rate, betas=betas, fused=device.type in ("cpu", "cuda"))
    ]
    if hidden:
        matrices = [parameter for parameter in model.parameters() if id(parameter) in hidden]
        optimizers.append(
            Muon(
                matrices,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                momentum=config.muon_momentum,
            )
        )
    return optimizers


def optimizer_tensors(model: Transformer, optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """The optimisers' state as `parameter name.state name`."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for optimizer in optimizers
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(model: Transformer, optimizers: list[Optimizer], tensors: dict[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` gave."""
    owners = {id(p): o for o in optimizers for group in o.param_groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    for full_name, value in tensors.items():
        name, key = full_name.rsplit(".", 1)
        parameter = parameters[name]
        owners[id(parameter)].state[parameter][key] = value if key == "step" else value.to(parameter.device)
