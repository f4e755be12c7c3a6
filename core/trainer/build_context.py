"""From a config to a `TrainContext`, fresh or from a run's newest whole checkpoint."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import psutil
import torch

from core.config.model_config import PRESETS, ModelConfig
from core.config.rl_options import STAGES as RL_STAGES
from core.config.train_config import TrainConfig
from core.data.dataset import Rows
from core.data.mixture import Mixture, Part
from core.data.mmap_file import MANIFEST, MmapFileHandler
from core.data.sampler import RowSampler
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, DataError, Sentence, TrainingError
from core.files import read_json_object, sha256_file
from core.model.adapted_model import tokenizer_folder
from core.model.checkpoint import find_model
from core.model.device import free_memory_bytes
from core.model.folder import AdapterBase, is_reward_model
from core.model.heads import RewardModel, load_reward_model
from core.model.shards import open_shards
from core.model.transformer import Backbone, Transformer
from core.model.weight_files import weights_hash
from core.parallel.setup import Ranks
from core.parallel.wrap import Parallel, choose_kind, wrap
from core.trainer.compilation import resolve_compile
from core.trainer.optimizer import build_optimizers, load_optimizer_tensors, named_parameters
from core.trainer.parameters import dequantised_from, load_base, load_trained_, prepare_parameters_
from core.trainer.precision import resolve_precision
from core.trainer.rng import restore_rng, seed_rank
from core.trainer.run_folder import OPTIMIZER, RunFolder, load_beside_, read_state, step_of
from core.trainer.stages import STRATEGIES
from core.trainer.strategy import Strategy
from core.trainer.train_context import Best, RewardFunction, TrainContext

logger = logging.getLogger(__name__)

# What a resumed run must keep: its data order, its loss and its optimiser's state hang on these.
SETTINGS_OF_A_RUN = (
    "stage", "base", "data", "mixture", "loss", "beta", "reward_model", "optimizer", "max_seq_len",
    "global_batch_size", "seed",
    "adapter", "lora_rank", "lora_alpha", "lora_layers", "base_quantization",
)  # fmt: skip

# fp32 weight and gradient, and at least one of the optimiser's averages.
BYTES_PER_TRAINED_PARAMETER = 12


def build_context(
    config: TrainConfig, *, resume: bool, ranks: Ranks | None = None, reward: RewardFunction | None = None
) -> TrainContext:
    """Build this rank's parts of a run, fresh or from its newest whole checkpoint.

    Raises ConfigError, DataError, ModelError or TrainingError before anything is written.
    """
    run = RunFolder(Path(config.output))
    ranks = ranks or Ranks.alone()
    device = ranks.device(config.device)
    if device.type == "cpu":
        torch.set_num_threads(ranks.num_threads(config.num_threads))  # which turns MKL's own choice off, too
    torch.manual_seed(config.seed)
    _check_rows(config, ranks)
    strategy = STRATEGIES[config.stage](config)
    handler = _open_data(Path(config.data), config, strategy)
    tokenizer = Tokenizer.load(Path(config.data) / "tokenizer")
    checkpoint = _checkpoint_to_resume(run, config, ranks) if resume else None
    parent = find_model(config.base) if config.base else None
    parent_hash = weights_hash(parent) if parent else None
    has_adapters = config.adapter != "none"
    model = _build_model(config, tokenizer, parent if has_adapters else checkpoint or parent, device)
    prepare_parameters_(model, config, AdapterBase(str(parent.absolute()), parent_hash) if parent else None)
    model.compiles_blocks = resolve_compile(config, device, model.config.num_parameters)
    if has_adapters and checkpoint:
        load_trained_(model, checkpoint)
    rows = _train_rows(config, strategy, handler, tokenizer)
    sampler = RowSampler(rows.num_rows, config.global_batch_size)
    context = TrainContext(
        config=config,
        run=run,
        device=device,
        dtype=resolve_precision(config.precision, device),
        ranks=ranks,
        model=model,
        tokenizer=tokenizer,
        optimizers=[],
        strategy=strategy,
        train_rows=rows,
        validation_rows=_validation_rows(strategy, handler, tokenizer),
        sampler=sampler,
        num_steps=config.max_steps or sampler.steps_in(config.epochs),
        attempt=run.last_attempt() + 1,
        parent_hash=parent_hash,
        data_hash=_data_hash(config),
        dequantised_from=dequantised_from(config),
        reward=reward,
    )
    strategy.prepare(context)
    for other in (context.reference, context.value):
        if other is not None:
            other.checkpoints_blocks, other.compiles_blocks = model.checkpoints_blocks, model.compiles_blocks
    context.parallel = _bind(context)
    context.optimizers = build_optimizers(context.trained, config, device)
    seed_rank(config.seed, context.step, ranks)
    if checkpoint is not None:
        _restore(context, checkpoint)
    return context


def _check_rows(config: TrainConfig, ranks: Ranks) -> None:
    """Raise ConfigError where the ranks cannot share a step's rows evenly."""
    at_once = config.micro_batch_size * ranks.world_size
    if config.global_batch_size % at_once:
        below = config.global_batch_size // at_once * at_once
        raise ConfigError(
            "global_batch_size {rows} is not a multiple of micro_batch_size {at_once} × {ranks} ranks.",
            "Use {less} or {more}, or another micro_batch_size.",
            rows=config.global_batch_size,
            at_once=config.micro_batch_size,
            ranks=ranks.world_size,
            less=max(below, at_once),
            more=below + at_once,
        )
    if config.stage in RL_STAGES and config.global_batch_size // ranks.world_size % config.num_minibatches:
        raise ConfigError(
            "num_minibatches {parts} does not divide the {prompts} prompts of a step among {ranks} ranks.",
            "Use a global_batch_size that is a multiple of num_minibatches and the ranks.",
            parts=config.num_minibatches,
            prompts=config.global_batch_size,
            ranks=ranks.world_size,
        )


def _bind(context: TrainContext) -> Parallel:
    """Wrap what is trained for the run's ranks."""
    num_trained = sum(parameter.numel() for parameter in named_parameters(context.trained).values())
    wanted = "ddp" if context.config.adapter != "none" else context.config.parallel
    kind = choose_kind(wanted, num_trained=num_trained, free_bytes=free_memory_bytes(context.device))
    if context.ranks.is_group and kind == "fsdp":
        _check_sharding(context.config)
    return wrap(context.trained, context.ranks, kind, dtype=context.dtype)


def _check_sharding(config: TrainConfig) -> None:
    """Raise ConfigError for what a rank with only a part of every weight cannot do."""
    if config.optimizer == "adamw_8bit":
        raise ConfigError(
            "optimizer adamw_8bit quantises averages in blocks of a whole tensor, of which parallel fsdp keeps rows.",
            "Set optimizer to adamw, whose averages fsdp shares out, or parallel to ddp.",
        )
    if config.sample_interval:
        raise ConfigError(
            "sample_interval lets one rank write texts, which has only a part of the weights with parallel fsdp.",
            "Set sample_interval to 0, or parallel to ddp.",
        )
    if config.stage in RL_STAGES:
        raise ConfigError(
            "Stage {stage} lets each rank write texts, which has only a part of the weights with parallel fsdp.",
            "Set parallel to ddp; where the whole model has no room, train an adapter.",
            stage=config.stage,
        )


def _data_hash(config: TrainConfig) -> str:
    """SHA-256 of the manifests of all data, which hold the hashes of their files."""
    digest = hashlib.sha256()
    for folder in (config.data, *config.mixture):
        digest.update(sha256_file(Path(folder) / MANIFEST).encode())
    return digest.hexdigest()


def _open_data(folder: Path, config: TrainConfig, strategy: Strategy[Any]) -> MmapFileHandler:
    handler = MmapFileHandler(folder)
    if handler.kind not in strategy.dataset_kinds:
        raise DataError(
            "{folder} holds {found} data, stage {stage} needs {kinds}.",
            "Prepare it with --kind {wanted}.",
            folder=folder,
            found=handler.kind,
            stage=config.stage,
            kinds=" / ".join(strategy.dataset_kinds),
            wanted=strategy.dataset_kinds[0],
        )
    return handler


def _train_rows(
    config: TrainConfig, strategy: Strategy[Any], handler: MmapFileHandler, tokenizer: Tokenizer
) -> Rows[Any]:
    """Those of `data`, and of `mixture` where it names more. Raises DataError for data of another tokenizer."""
    rows = strategy.rows(handler, "train", tokenizer=tokenizer, seed=config.seed)
    if not config.mixture:
        return rows
    parts = [Part(config.data, rows, 1 - sum(config.mixture.values()))]
    for folder, share in config.mixture.items():
        other = _open_data(Path(folder), config, strategy)
        if (other.kind, other.fingerprint) != (handler.kind, handler.fingerprint):
            raise DataError(
                "{folder} holds {found} data of the tokenizer {tokenizer}…, {data} {own} data of {own_tokenizer}….",
                "Prepare both alike.",
                folder=folder,
                found=other.kind,
                tokenizer=other.fingerprint[:12],
                data=config.data,
                own=handler.kind,
                own_tokenizer=handler.fingerprint[:12],
            )
        parts.append(Part(folder, strategy.rows(other, "train", tokenizer=tokenizer, seed=config.seed), share))
    return Mixture(parts)


def _validation_rows(strategy: Strategy[Any], handler: MmapFileHandler, tokenizer: Tokenizer) -> Rows[Any] | None:
    if "validation" not in handler.splits or not handler.num_documents("validation"):
        return None
    return strategy.rows(handler, "validation", tokenizer=tokenizer, seed=None)


def _checkpoint_to_resume(run: RunFolder, config: TrainConfig, ranks: Ranks) -> Path | None:
    """The newest whole checkpoint, or None for a run that made none yet.

    Raises TrainingError where there is no run or all are torn, or for settings that make another run.
    """
    begun = read_json_object(run.config) if run.config.exists() else {}
    now = config.to_dict()
    changed = [
        Sentence("{name} {before}, not {now}", name=key, before=str(begun[key]), now=str(now[key]))
        for key in SETTINGS_OF_A_RUN
        if begun.get(key, now[key]) != now[key]
    ]
    if changed:
        raise TrainingError(
            "{path} was begun with {changed}.",
            "Resume with the run's own settings, or choose another --output.",
            path=run.root,
            changed=tuple(changed),
        )
    newest = run.newest_checkpoint() if ranks.is_first else None
    step = ranks.from_first(-1 if newest is None else step_of(newest))
    if step < 0 and run.config.exists() and not run.checkpoint_folders():
        return None  # it ended before its first one
    if step < 0:
        raise TrainingError(
            "{path} has no whole checkpoint among {count}.",
            "Start it again without --resume into another folder.",
            path=run.root,
            count=len(run.checkpoint_folders()),
        )
    return run.checkpoint(step)


def _restore(context: TrainContext, checkpoint: Path) -> None:
    """Go on where the checkpoint was written. Raises TrainingError when the run's parent is another model now."""
    state = read_state(checkpoint)
    if state.get("parent_hash") != context.parent_hash:
        raise TrainingError(
            "{path} is not the model that this run started from ({now}…, then {before}…).",
            "Put that model back, or start a new run.",
            path=context.config.base,
            now=str(context.parent_hash)[:12],
            before=str(state.get("parent_hash"))[:12],
        )
    if state.get("data_hash") != context.data_hash:
        raise TrainingError(
            "{path} was prepared anew since this run began: its rows are not those it has learnt from.",
            "Put the data back, or start a new run.",
            path=context.config.data,
        )
    context.step, context.tokens, context.train_s = state["step"], state["tokens"], state["train_s"]
    if state.get("best"):
        context.best = Best(**state["best"])
    stored = open_shards(checkpoint, OPTIMIZER)
    if not restore_rng(stored, context.device, context.ranks):
        seed_rank(context.config.seed, context.step, context.ranks)
    load_beside_(checkpoint, context.beside, context.ranks)
    load_optimizer_tensors(context.trained, context.optimizers, stored, context.ranks)
    _tell_differences(context, state)


def _tell_differences(context: TrainContext, state: dict[str, Any]) -> None:
    """Say once why the run will not be bit-equal to the uninterrupted one."""
    differences = [
        f"{state[key]} → {now} {name}"
        for key, now, name in (
            ("num_ranks", context.ranks.world_size, "ranks"),
            ("num_threads", torch.get_num_threads() if context.device.type == "cpu" else None, "threads"),
            ("torch", torch.__version__, "torch"),
        )
        if now is not None and state[key] != now
    ]
    if differences and context.ranks.is_first:
        logger.warning("this resume is not bit-exact: %s", ", ".join(differences))


def _build_model(config: TrainConfig, tokenizer: Tokenizer, source: Path | None, device: torch.device) -> Backbone:
    """Weights of a checkpoint or parent, or fresh ones, in fp32."""
    model: Backbone
    if source is not None:
        _check_base(source, tokenizer)
        model = _load(source, config).train()
    else:
        shape = _fresh_shape(config, tokenizer)
        _check_memory(shape, device)
        model = Transformer(shape).train()
        model.init_weights(config.seed)
    shape = model.config
    if shape.vocab_size < tokenizer.vocab_size:
        raise ConfigError(
            "The model has {count} embeddings, the data's tokenizer {ids} ids.",
            "Prepare the data with the model's own tokenizer.",
            count=shape.vocab_size,
            ids=tokenizer.vocab_size,
        )
    if shape.max_position_embeddings < config.max_seq_len:
        raise ConfigError(
            "max_seq_len {size} exceeds the model's context of {most}.",
            "Set max_seq_len to {most} or less.",
            size=config.max_seq_len,
            most=shape.max_position_embeddings,
        )
    return model.to(device)


def _load(source: Path, config: TrainConfig) -> Backbone:
    """A model as its stage takes it: stage rm puts a fresh head on a language model, or goes on with a reward model."""
    if config.stage != "rm":
        return load_base(source, config)
    if is_reward_model(source):
        return load_reward_model(source, dtype=torch.float32)
    return RewardModel.from_backbone(load_base(source, config), config.seed)


def _check_memory(shape: ModelConfig, device: torch.device) -> None:
    """Raise ConfigError for a fresh model that cannot be trained in this memory."""
    needed = shape.num_parameters * BYTES_PER_TRAINED_PARAMETER
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        raise ConfigError(
            "Training {count:,} parameters takes {needed:.1f} GiB at least, {free:.1f} GiB are free.",
            "Choose a smaller preset or shape.",
            kind="oom",
            count=shape.num_parameters,
            needed=needed / 2**30,
            free=free / 2**30,
        )


def _check_base(source: Path, tokenizer: Tokenizer) -> None:
    """Raise DataError when the data has another vocabulary."""
    if Tokenizer.load(tokenizer_folder(source)).fingerprint != tokenizer.fingerprint:
        raise DataError(
            "The data was prepared with another tokenizer than that of {path}.",
            "Prepare it again with --tokenizer {path}.",
            path=source,
        )


def _fresh_shape(config: TrainConfig, tokenizer: Tokenizer) -> ModelConfig:
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    preset = PRESETS[config.preset].to_dict()
    return ModelConfig.from_dict({**preset, "vocab_size": tokenizer.vocab_size, **ids, **config.model})
