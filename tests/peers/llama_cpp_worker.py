"""Runs in a Python that has llama-cpp-python: a JSON list of requests on standard input, one of answers at the end.

Standard library and llama_cpp only; it knows nothing of this repository.
"""

import contextlib
import ctypes
import json
import sys

import llama_cpp

F32 = 0  # of the cached keys and values, so that logits can be held against ours


def open_model(model: str, *, all_logits: bool) -> llama_cpp.Llama:
    return llama_cpp.Llama(
        model, n_ctx=256, n_threads=1, type_k=F32, type_v=F32, logits_all=all_logits, flash_attn=False, verbose=False
    )


def tokenize(model: str, texts: list[str], add_bos: bool = False) -> list[list[int]]:
    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    return [llama.tokenize(text.encode(), add_bos=add_bos, special=False) for text in texts]


def greedy(model: str, ids: list[int], count: int) -> list[int]:
    llama = open_model(model, all_logits=True)
    result: list[int] = []
    llama.eval(ids)
    for _ in range(count):
        result.append(int(llama.scores[llama.n_tokens - 1].argmax()))
        llama.eval(result[-1:])
    return result


def logits(model: str, ids: list[int]) -> list[list[float]]:
    llama = open_model(model, all_logits=True)
    llama.eval(ids)
    return [[float(value) for value in row] for row in llama.scores[: len(ids)]]


def quantize(model: str, output: str, kind: str) -> int:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{kind}")
    params.nthread = 1
    params.allow_requantize = True
    return int(llama_cpp.llama_model_quantize(model.encode(), output.encode(), ctypes.byref(params)))


WORDS = {"tokenize": tokenize, "greedy": greedy, "logits": logits, "quantize": quantize}


def main() -> None:
    # llama.cpp itself writes to both streams.
    with contextlib.redirect_stdout(sys.stderr):
        answers = [WORDS[request.pop("do")](**request) for request in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(answers) + "\n")


main()
