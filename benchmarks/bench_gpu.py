"""Pre-training steps of a large model on one GPU: tokens/s, MFU and memory, one improvement after the other.

Each rung of the ladder runs real steps of `core.trainer` on packed rows of documents: fp32 weights, bf16 products.
MFU counts 6 FLOP for each token and weight of a matrix, the tied head's among them, and 12 · layers · width · T for
attention, without taking off what causal order and document borders save, over the maker's dense bf16 figure; beside
it stands the product of square matrices that this card reaches.
"""

import dataclasses
import random
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from app.paths import starter_dir
from core.errors import SetupError

# Lengths of documents, in tokens: log-normal, as those of web text are.
DOCUMENT_MEAN_LOG, DOCUMENT_STD_LOG, LONGEST_DOCUMENT = 6.0, 1.0, 8192


@dataclass(frozen=True, slots=True)
class Rung:
    """What differs from the rung before."""

    name: str
    attention: str | None = None  # mask, flex or what is chosen
    compiles: bool = False
    chunk_tokens: int | None = None  # of the loss; None is what ships
    rows: int | None = None
    recomputes: bool = False


def ladder(rows: int) -> list[Rung]:
    """From plain torch to what ships, and what was tried beside it."""
    return [
        Rung("plain layers, masked attention", attention="mask", chunk_tokens=1024),
        Rung("attention by document", chunk_tokens=1024),
        Rung("loss on 4096 tokens at a time"),
        Rung("blocks and loss compiled", compiles=True),
        Rung(f"{2 * rows} rows at a time", compiles=True, rows=2 * rows),
        Rung(f"{2 * rows} rows, blocks computed again", compiles=True, rows=2 * rows, recomputes=True),
        Rung("FlexAttention instead", attention="flex", compiles=True),
        Rung("masked attention instead", attention="mask", compiles=True),
    ]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--preset", default="1b", help="shape of the model (default 1b)")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a row (default 2048)")
    parser.add_argument("--rows", type=int, default=16, help="rows in a forward pass (default 16)")
    parser.add_argument("--micro-batches", type=int, default=4, help="forward passes in a step (default 4)")
    parser.add_argument("--repeats", type=int, default=4, help="measured steps of each (default 4)")
    parser.add_argument("--rungs", type=int, nargs="*", help="numbers of the rungs to run, from 0 (default all)")


def run(arguments: Namespace) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        raise SetupError("bench gpu needs a GPU, and torch finds none.", "`doctor` tells what torch sees.")
    from core.config.model_config import PRESETS
    from core.trainer.efficiency import measured_flops, peak_flops, train_flops_per_token

    device = torch.device("cuda")
    flop = train_flops_per_token(PRESETS[arguments.preset], arguments.tokens)
    peak = peak_flops(device, torch.bfloat16)
    rungs = ladder(arguments.rows)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        context = _context(arguments, Path(place))
        for number in arguments.rungs or range(len(rungs)):
            rows.append(_climb(rungs[number], context, arguments, flop, peak))
            print(_line(rows[-1]), flush=True)
    return {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "peak_tflops": round(peak / 1e12),
        "measured_tflops": round(measured_flops(device, torch.bfloat16, 8192) / 1e12),
        "num_parameters": context.model.config.num_parameters,
        "row_tokens": arguments.tokens,
        "rungs": rows,
    }


def _context(arguments: Namespace, folder: Path) -> Any:
    """A run of fresh weights on random ids, of which no step is ever saved."""
    from core.config.model_config import PRESETS
    from core.config.train_config import TrainConfig
    from core.trainer.build_context import build_context

    batch = arguments.rows * arguments.micro_batches
    _write_data(folder / "data", num_tokens=16 * batch * arguments.tokens)
    config = TrainConfig(
        data=str(folder / "data"),
        output=str(folder / "run"),
        preset=arguments.preset,
        model={"vocab_size": PRESETS[arguments.preset].vocab_size},
        max_seq_len=arguments.tokens,
        micro_batch_size=arguments.rows,
        global_batch_size=batch,
        max_steps=10_000,
        device="cuda",
        compile="off",
    )
    return build_context(config, resume=False)


def _write_data(folder: Path, num_tokens: int) -> None:
    from core.data.mmap_file import MmapFileHandler
    from core.data.tokenizer import Tokenizer

    tokenizer, draw = Tokenizer.load(starter_dir()), random.Random(0)  # noqa: S311 - a seeded draw
    writer = MmapFileHandler.writer(
        folder, kind="pt", vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
    )
    tokenizer.save(writer.temporary / "tokenizer")
    while num_tokens > 0:
        length = min(int(draw.lognormvariate(DOCUMENT_MEAN_LOG, DOCUMENT_STD_LOG)) + 2, LONGEST_DOCUMENT)
        ids = draw.choices(range(400, tokenizer.vocab_size), k=length)
        writer.add("train", [*ids, tokenizer.eos_id], num_bytes=4 * length)
        num_tokens -= length
    writer.close(sources=[], report={})


def _climb(rung: Rung, context: Any, arguments: Namespace, flop: float, peak: float) -> dict[str, Any]:
    """Steps of one rung; where memory runs out that is its result."""
    import torch

    from core.errors import is_out_of_memory
    from core.trainer.trainer import Trainer

    rows = rung.rows or arguments.rows
    batch = arguments.rows * arguments.micro_batches
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    context.config = dataclasses.replace(context.config, micro_batch_size=rows)
    context.model.compiles_blocks, context.model.checkpoints_blocks = rung.compiles, rung.recomputes
    with _as_on(rung):
        trainer, seconds = Trainer(context, []), []
        start = time.perf_counter()
        try:
            trainer.step()
            first_s = time.perf_counter() - start
            for _ in range(arguments.repeats):
                torch.cuda.synchronize()
                start = time.perf_counter()
                loss = trainer.step().loss
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            return {"rung": rung.name, "failed": "out of memory"}
    tokens_s = batch * arguments.tokens / statistics.median(seconds)
    return {
        "rung": rung.name,
        "rows": rows,
        "tokens_s": round(tokens_s),
        "mfu": round(tokens_s * flop / peak, 3),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1),
        "first_step_s": round(first_s, 1),
        "loss": round(loss, 3),
    }


@contextmanager
def _as_on(rung: Rung) -> Iterator[None]:
    """Attention and loss as this rung has them."""
    from core.model import attention, transformer
    from core.model.row_attention import FlexAttention, RowAttention
    from core.model.visibility import Visibility
    from core.trainer import losses

    def choose(visibility: Visibility, batch: int, *_: Any, **__: Any) -> RowAttention:
        if rung.attention == "flex":
            return FlexAttention(visibility, batch)
        return partial(attention.attention, mask=visibility.mask())

    with ExitStack() as stack:
        if rung.attention:
            stack.enter_context(patch.object(transformer, "choose_attention", choose))
        if rung.chunk_tokens:
            stack.enter_context(patch.dict(losses.CHUNK_TOKENS, gpu=rung.chunk_tokens))
        yield


def _line(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"{row['rung']:40} {row['failed']}"
    return (
        f"{row['rung']:40} {row['rows']:3} rows  {row['tokens_s']:7,} tok/s  MFU {row['mfu']:.1%}"
        f"  {row['peak_gb']:6.1f} GB  first step {row['first_step_s']:5.1f} s  loss {row['loss']:.3f}"
    )
