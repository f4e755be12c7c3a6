"""What quantisation costs: perplexity of a model unquantised, in int8 and int4, and in llama.cpp's Q8_0 and Q4_0.

Every form predicts the same tokens of the same texts, in windows of 512 tokens. Ours runs on the kernels that answer
in the product, so the rounding of activations is in the figure.
"""

import math
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.commands.model_option import add_model_option
from app.paths import ROOT
from core.errors import SetupError

WINDOW_TOKENS = 512
PEER_KINDS = ("F16", "Q8_0", "Q4_0")


def add_arguments(parser: ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument("files", nargs="+", type=Path, help="texts that the model was not trained on")
    parser.add_argument("--tokens", type=int, default=60_000, help="so many tokens of the texts (default 60000)")
    parser.add_argument("--peer", choices=("llama.cpp",), help="also llama.cpp's quantiser; wants llama-cpp-python")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has the peer's package")


def run(arguments: Namespace) -> dict[str, Any]:
    windows = list(_windows(arguments))
    num_tokens = sum(len(window) - 1 for window in windows)
    nats = _ours(arguments.model, windows)
    if arguments.peer:
        nats |= _peer(arguments, windows)
    perplexity = {name: math.exp(total / num_tokens) for name, total in nats.items()}
    base = perplexity["fp32"]
    figures: dict[str, Any] = {"num_tokens": num_tokens}
    for name, value in perplexity.items():
        figures[f"{name} perplexity"] = f"{value:.3f} ({100 * (value / base - 1):+.2f} %)"
    return figures | {"perplexity": {name: round(value, 4) for name, value in perplexity.items()}}


def _windows(arguments: Namespace) -> Iterator[list[int]]:
    """The same number of tokens from each file, so that languages weigh the same."""
    import core
    from core.data.streams import input_files
    from core.evaluation import read_texts

    tokenizer = core.load(arguments.model).tokenizer
    files = list(input_files(arguments.files))
    for file in files:
        ids: list[int] = []
        for text in read_texts(file):
            ids += [*tokenizer.start_ids, *tokenizer.encode(text), tokenizer.eos_id]
            if len(ids) > arguments.tokens // len(files):
                break
        for start in range(0, len(ids) - WINDOW_TOKENS, WINDOW_TOKENS):
            yield ids[start : start + WINDOW_TOKENS + 1]


def _ours(path: str, windows: list[list[int]]) -> dict[str, float]:
    import core
    from core.evaluation import window_nats

    nats = {}
    for form, label in (("none", "fp32"), ("int8", "int8"), ("int4", "int4")):
        model = core.load(path, quantization=form)
        nats[label] = sum(window_nats(model, window, 1) for window in windows)
        model.close()
    return nats


def _peer(arguments: Namespace, windows: list[list[int]]) -> dict[str, float]:
    import core
    from benchmarks.bench_decode import started

    nats = {}
    with tempfile.TemporaryDirectory() as folder:
        whole = core.export(arguments.model, Path(folder) / "F16.gguf", to="gguf", dtype="f16")
        for kind in PEER_KINDS:
            path = whole.with_name(f"{kind}.gguf")
            if kind != "F16":
                _quantise(arguments.peer_python, whole, path, kind)
            with started(arguments.peer_python, "llama.cpp", kind, path) as peer:
                nats[f"llama.cpp {kind}"] = peer.ask("nats", windows)
    return nats


def _quantise(python: str, source: Path, target: Path, kind: str) -> None:
    command = [python, "-m", "benchmarks.llama_cpp_peer", str(source), str(target), kind]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SetupError(f"llama.cpp did not make {kind}: {result.stderr.strip()[-200:]}", "Is llama-cpp-python there?")
