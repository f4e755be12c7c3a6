"""The optimisers of a run, with decay on matrices only.

`adamw` is AdamW for all weights (Loshchilov & Hutter 2019). `muon` orthogonalises the update of the
blocks' matrices and leaves embeddings, head and norms to AdamW, at the same learning rate.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from core.config.train_config import TrainConfig
from core.model.shards import ShardedTensor
from core.parallel.setup import Ranks
from core.parallel.sharded import read_like
from core.trainer.muon import Muon


def build_optimizers(trained: Mapping[str, nn.Module], config: TrainConfig, device: torch.device) -> list[Optimizer]:
    """One or two optimisers that together own every parameter that is trained once."""
    named = named_parameters(trained)
    hidden = {name for name, parameter in named.items() if ".layers." in name and parameter.dim() > 1}
    hidden = hidden if config.optimizer == "muon" else set()
    rest = [parameter for name, parameter in named.items() if name not in hidden]
    groups = [
        {"params": [parameter for parameter in rest if parameter.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in rest if parameter.dim() == 1], "weight_decay": 0.0},
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    optimizers: list[Optimizer] = [
        AdamW(groups, lr=config.learning_rate, betas=betas, fused=device.type in ("cpu", "cuda"))
    ]
    if hidden:
        optimizers.append(
            Muon(
                [named[name] for name in named if name in hidden],
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                momentum=config.muon_momentum,
            )
        )
    return optimizers


def named_parameters(trained: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter that is trained, by its module's prefix and its name."""
    return {
        f"{prefix}{name}": parameter
        for prefix, module in trained.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def optimizer_tensors(trained: Mapping[str, nn.Module], optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """The optimisers' state as `parameter name.state name`."""
    return {
        f"{name}.{key}": value
        for name, parameter in named_parameters(trained).items()
        for optimizer in optimizers
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    trained: Mapping[str, nn.Module], optimizers: list[Optimizer], stored: Mapping[str, ShardedTensor], ranks: Ranks
) -> None:
    """Restore what `optimizer_tensors` gave; of other names, and of rows that other ranks keep, nothing is read."""
    owners = {id(p): o for o in optimizers for group in o.param_groups for p in group["params"]}
    parameters = named_parameters(trained)
    for full_name, tensor in stored.items():
        name, _, key = full_name.rpartition(".")
        if name in parameters:
            parameter = parameters[name]
            is_alike = tensor.shape == tuple(parameter.shape)
            value = read_like(parameter, tensor, ranks) if is_alike else tensor.read()
            on_device = bool(tensor.shape) or parameter.is_cuda  # counts of steps stay on the CPU, but for fused CUDA
            owners[id(parameter)].state[parameter][key] = value.to(parameter.device) if on_device else value
