"""Hostile model folders: each function of ZOO spoils a good one. CANARY is what code in them would make."""

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CANARY = "canary"
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
Spoil = Callable[[Path], None]


class Payload:
    """Makes the canary when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder.parent / CANARY)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def zoo() -> Iterator[tuple[str, Spoil]]:
    """Name and function of every kind."""
    yield from _pickles()
    yield from _configs()
    yield from _headers()
    yield from _other_files()
    yield from _links()


def _pickles() -> Iterator[tuple[str, Spoil]]:
    for name in ("pytorch_model.bin", "model.pt", "model.pth", "model.pkl", "tf_model.h5", "consolidated.00.pth"):
        yield f"a pickle as {name}", _instead_of(WEIGHTS, name)
    yield "a pickle as safetensors", lambda folder: _dump(folder, WEIGHTS)
    for name in ("training_args.bin", "optimizer.pt", "tokenizer.pkl", "rng_state.pth", "config.pkl"):
        yield f"{name} beside the weights", lambda folder, name=name: _dump(folder, name)  # type: ignore[misc]


def _configs() -> Iterator[tuple[str, Spoil]]:
    code = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    for key, value in {
        "auto_map": code, "auto_mapping": code, "model_file": "evil.py", "trust_remote_code": True,
        "custom_pipelines": {"x": {"impl": "evil.Evil"}}, "_attn_implementation_internal": "evil/kernel",
        "attn_implementation": "evil/kernel", "megatron_core": "evil", "base_model_name_or_path": "/etc",
        "kernel_config": {"x": "evil/kernel:Evil"}, "quantization_config": {"quant_method": "evil"},
        "rope_scaling": {"type": "evil", "factor": 1e308},
    }.items():  # fmt: skip
        yield f"config: {key}", _with_config({key: value})
    for key in (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "intermediate_size", "max_position_embeddings", "head_dim",
    ):  # fmt: skip
        for value in (-1, 0, 2**62, 1e400, "64", [64], True):
            yield f"config: {key} is {value!r}", _with_config({key: value})
    for content in (b"", b"null", b"[]", b'{"a":' * 50_000, b"\xff\xfe{}", b"{" + b'"a":1,' * 10 + b"}", b"\0" * 100):
        yield f"config: {content[:12]!r}", lambda folder, content=content: _write(folder, CONFIG, content)  # type: ignore[misc]


def _headers() -> Iterator[tuple[str, Spoil]]:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for name, value in {
        "overlapping": {"a": tensor, "b": tensor},
        "beyond the end": {"a": {**tensor, "data_offsets": [0, 2**40]}},
        "backwards": {"a": {**tensor, "data_offsets": [8, 0]}},
        "negative": {"a": {**tensor, "data_offsets": [-8, 0]}},
        "shape that overflows": {"a": {**tensor, "shape": [2**62, 8]}},
        "shape of another size": {"a": {**tensor, "shape": [2**20]}},
        "negative shape": {"a": {**tensor, "shape": [-2]}},
        "a gap": {"a": tensor, "b": {**tensor, "data_offsets": [16, 24]}},
        "unknown type": {"a": {**tensor, "dtype": "EVIL"}},
        "no offsets": {"a": {"dtype": "F32", "shape": [2]}},
        "no tensors": {},
        "a list": [tensor],
        "numbers as metadata": {"__metadata__": {"a": 1}, "a": tensor},
        "thousands of tensors": {str(i): {**tensor, "shape": [0], "data_offsets": [0, 0]} for i in range(5000)},
    }.items():
        yield f"header: {name}", _with_header(json.dumps(value).encode())
    yield "header: no JSON", _with_header(b"{" * 500)
    for length in (2**63, 2**64 - 1, 2**32, 0):
        content = struct.pack("<Q", length) + b"{}"
        yield f"header of {length} bytes", lambda folder, content=content: _write(folder, WEIGHTS, content)  # type: ignore[misc]
    for share in (0.0, 0.0001, 0.001, 0.01, 0.5, 0.99, 0.9999):
        yield f"weights cut at {share:.2%}", lambda folder, share=share: _cut(folder / WEIGHTS, share)  # type: ignore[misc]


def _other_files() -> Iterator[tuple[str, Spoil]]:
    for share in (0.0, 0.1, 0.5, 0.99):
        yield f"tokenizer cut at {share:.0%}", lambda folder, share=share: _cut(folder / TOKENIZER, share)  # type: ignore[misc]
    for content in (b"{}", b"[" * 100_000, b'{"model": {"type": "EVIL"}}', b"\xff" * 100, pickle.dumps({"a": 1})):
        yield f"tokenizer: {content[:12]!r}", lambda folder, content=content: _write(folder, TOKENIZER, content)  # type: ignore[misc]
    for target in ("../../secret.safetensors", "/etc/passwd", "evil.bin", "a/b.safetensors", "none.safetensors", ""):
        index = {"weight_map": {"model.norm.weight": target}}
        yield f"an index that leads to {target!r}", _with_json(f"{WEIGHTS}.index.json", index)
    for index in ({}, [], {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": ["b"]}}):
        yield f"an index that is {index!r}", _with_json(f"{WEIGHTS}.index.json", index)


def _links() -> Iterator[tuple[str, Spoil]]:
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        for target in ("/etc/passwd", "/dev/zero", name, ".."):
            yield f"{name} is a link to {target}", lambda folder, name=name, target=target: _link(folder, name, target)  # type: ignore[misc]
        yield f"{name} is a folder", lambda folder, name=name: _replace(folder, name, Path.mkdir)  # type: ignore[misc]
        yield f"{name} is a pipe", lambda folder, name=name: _replace(folder, name, os.mkfifo)  # type: ignore[misc]


def _instead_of(gone: str, name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / gone).unlink()
        _dump(folder, name)

    return spoil


def _with_config(changes: dict[str, Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        (folder / CONFIG).write_text(json.dumps({**config, **changes}), encoding="utf-8")
        (folder / "evil.py").write_text(f"import os; os.mkdir({str(folder.parent / CANARY)!r})\nclass Evil: pass\n")

    return spoil


def _with_json(name: str, value: Any) -> Spoil:
    return lambda folder: _write(folder, name, json.dumps(value).encode())


def _with_header(header: bytes) -> Spoil:
    return lambda folder: _write(folder, WEIGHTS, struct.pack("<Q", len(header)) + header + bytes(64))


def _dump(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Payload(folder)))


def _write(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _replace(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink()
    make(folder / name)


def _link(folder: Path, name: str, target: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(target)
