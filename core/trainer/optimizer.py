"""The optimisers of a run, with decay on matrices only.

`adamw` is AdamW for all weights (Loshchilov & Hutter 2019). `adamw_8bit` keeps its averages in 8 bits, one scale for
each 256 values (Dettmers et al. 2022; bitsandbytes, on CPU and CUDA). `muon` orthogonalises the update of the
blocks' matrices and leaves embeddings, head and norms to AdamW, at the same learning rate.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from core.config.train_config import TrainConfig
from core.errors import ConfigError
from core.model.bnb import load_bitsandbytes
from core.model.shards import ShardedTensor
from core.parallel.setup import Ranks
from core.parallel.sharded import read_like
from core.trainer.muon import Muon

# Tables that bitsandbytes holds once for all parameters; a file holds each tensor's own.
SHARED_STATE = ("qmap1", "qmap2")


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
    build_adamw = _adamw_8bit if config.optimizer == "adamw_8bit" else _adamw
    optimizers = [build_adamw(groups, config, device)]
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


def _adamw(groups: list[dict[str, Any]], config: TrainConfig, device: torch.device) -> Optimizer:
    betas = (config.adam_beta1, config.adam_beta2)
    return AdamW(groups, lr=config.learning_rate, betas=betas, fused=device.type in ("cpu", "cuda"))


def _adamw_8bit(groups: list[dict[str, Any]], config: TrainConfig, device: torch.device) -> Optimizer:
    """Raises ConfigError where bitsandbytes does not load or has no kernel for the device."""
    bitsandbytes = load_bitsandbytes("Set optimizer to adamw.")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            "optimizer adamw_8bit does not run on {device}.", "Set optimizer to adamw.", device=device.type
        )
    betas = (config.adam_beta1, config.adam_beta2)
    optimizer: Optimizer = bitsandbytes.optim.AdamW8bit(groups, lr=config.learning_rate, betas=betas)
    return optimizer


def named_parameters(trained: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter that is trained, by its module's prefix and its name."""
    return {
        f"{prefix}{name}": parameter
        for prefix, module in trained.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def optimizer_tensors(trained: Mapping[str, nn.Module], optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """The optimisers' state as `parameter name.state name`; a count that is a plain number becomes a tensor."""
    return {
        f"{name}.{key}": value.clone() if key in SHARED_STATE else torch.as_tensor(value)
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
            state = owners[id(parameter)].state[parameter]
            if key == "step" and not value.is_floating_point():
                state[key] = int(value)  # bitsandbytes counts in plain numbers
            else:
                on_device = bool(tensor.shape) or parameter.is_cuda  # but for fused CUDA counts stay on the CPU
                state[key] = value.to(parameter.device) if on_device else value
