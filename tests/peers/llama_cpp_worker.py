"""Runs in a Python that has llama-cpp-python: one JSON request on standard input, one JSON answer at the end.

Standard library and llama_cpp only; it knows nothing of this repository.
"""

import contextlib
import ctypes
import json
import sys

import llama_cpp
import numpy as np


def tokenize(model: str, texts: list[str], add_bos: bool = False, special: bool = False) -> list[list[int]]:
    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    return [llama.tokenize(text.encode(), add_bos=add_bos, special=special) for text in texts]


def greedy(model: str, ids: list[int], count: int) -> list[int]:
    llama = llama_cpp.Llama(model, n_ctx=512, n_threads=1, verbose=False, logits_all=False)
    result: list[int] = []
    llama.eval(ids)
    for _ in range(count):
        scores = np.ctypeslib.as_array(llama._ctx.get_logits_ith(-1), shape=(llama.n_vocab(),))
        result.append(int(scores.argmax()))
        llama.eval(result[-1:])
    return result


def logits(model: str, ids: list[int]) -> list[list[float]]:
    llama = llama_cpp.Llama(model, n_ctx=512, n_threads=1, verbose=False, logits_all=True)
    llama.eval(ids)
    return [[float(value) for value in row] for row in llama.scores[: len(ids)]]


def quantize(model: str, output: str, kind: str) -> int:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.nthread = 1
    return int(llama_cpp.llama_model_quantize(model.encode(), output.encode(), ctypes.byref(params)))


def main() -> None:
    request = json.load(sys.stdin)
    # llama.cpp itself writes to both streams.
    with contextlib.redirect_stdout(sys.stderr):
        answer = {"tokenize": tokenize, "greedy": greedy, "logits": logits, "quantize": quantize}[request.pop("do")](
            **request
        )
    print(json.dumps(answer))


main()
