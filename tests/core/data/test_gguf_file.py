"""GGUF headers: what is written is read, and no broken or hostile file hangs, crashes or takes memory."""

import os
import random
import resource
import struct
import time
from pathlib import Path

import gguf
import numpy as np
import pytest

from core.data.gguf_file import open_gguf
from core.data.gguf_tokenizer import tokenizer_from_gguf
from core.errors import ModelError
from core.model.gguf_read import gguf_config, gguf_sampling, gguf_weights

Mutation = tuple[int, bytes]


def small_file(path: Path) -> Path:
    """A whole little llama model with a tokenizer, written by the gguf package."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in (
        ("context_length", 64),
        ("embedding_length", 32),
        ("block_count", 1),
        ("feed_forward_length", 32),
    ):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_uint32("llama.attention.head_count", 2)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_string("tokenizer.ggml.model", "llama")
    writer.add_array("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab"])
    writer.add_array("tokenizer.ggml.scores", [0.0, 0.0, 0.0, -4.0, -3.0, -3.5, -1.0, -2.0])
    writer.add_array("tokenizer.ggml.token_type", [2, 3, 3, 1, 1, 1, 1, 1])
    writer.add_uint32("tokenizer.ggml.eos_token_id", 2)
    draw = np.random.default_rng(0)
    shapes = {"token_embd.weight": (8, 32), "output_norm.weight": (32,)}
    shapes |= {f"blk.0.{name}.weight": (32,) for name in ("attn_norm", "ffn_norm")}
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{name}.weight": (32, 32) for name in names}
    for name, shape in shapes.items():
        values = draw.standard_normal(shape, dtype=np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q4_0
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_file(tmp_path_factory.mktemp("gguf") / "small.gguf")


def read_all(path: Path) -> None:
    """Everything that opening a model reads."""
    file = open_gguf(path)
    config = gguf_config(file)
    tokenizer_from_gguf(file.metadata)
    gguf_sampling(file)
    for tensor in gguf_weights(config, file).values():
        if np.prod(tensor.shape) <= 1 << 16:
            tensor.read()


def test_metadata_and_tensors_read_back(whole: Path) -> None:
    file = open_gguf(whole)
    assert file.metadata["tokenizer.ggml.tokens"][7] == "\u2581ab"
    assert file.metadata["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert file.tensors["token_embd.weight"].shape == (8, 32)
    reader = gguf.GGUFReader(whole)
    for theirs in reader.tensors:
        assert np.array_equal(file.tensors[theirs.name].content.ravel(), theirs.data.view(np.uint8).ravel())


def mutants(content: bytes, count: int) -> list[bytes]:
    """Cuts, changed bytes, and counts and lengths that claim everything."""
    draw = random.Random(0)
    header = content.index(b"blk.0.ffn_down.weight") + 60
    found = [content[: draw.randrange(len(content))] for _ in range(count // 4)]
    for _ in range(count // 2):
        changed = bytearray(content)
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(header)] = draw.randrange(256)
        found.append(bytes(changed))
    huge = (2**63, 2**64 - 1, 2**40, 2**32, 2**31 - 1, 1 << 22, 0)
    for _ in range(count // 4):
        place = draw.randrange(4, header)
        found.append(content[:place] + struct.pack("<Q", draw.choice(huge)) + content[place + 8 :])
    return found


def test_hundreds_of_broken_files_are_refused_quickly_in_a_sentence_and_without_memory(
    whole: Path, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    messages = []
    for content in mutants(whole.read_bytes(), 400):
        path = tmp_path / "broken.gguf"
        path.write_bytes(content)
        try:
            read_all(path)
        except ModelError as exc:
            messages.append(exc.message)
    assert len(messages) > 200
    assert max(map(len, messages)) < 400
    assert time.monotonic() - begin < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def header(num_tensors: int, num_metadata: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_metadata) + rest


def entry(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


TENSOR = entry("t", 2, b"")[:-4] + struct.pack("<I", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes, too short"),
        (b"<!DOCTYPE html><html>" + b" " * 40, r"begins with b'<!DOCTYPE html><"),
        (header(0, 0, version=1), "its version is 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (header(2**60, 0), "claims 1,152,921,504,606,846,976 tensors"),
        (header(0, 2**40), "claims 1,099,511,627,776 metadata"),
        (header(0, 1, entry("a", 9, struct.pack("<IQ", 0, 2**60))), "a list of 1,152,921,504,606,846,976 entries"),
        (header(0, 1, entry("a", 9, struct.pack("<IQ", 0, 2**20))), "1,048,576 bytes are wanted"),
        (header(0, 1, entry("a", 9, struct.pack("<IQ", 9, 1))), "unknown type 9"),
        (header(0, 1, entry("a", 8, struct.pack("<Q", 2**63))), "a text of 9,223,372,036,854,775,808 bytes"),
        (header(0, 2, entry("a", 0, b"1") * 2), "'a' stands in it twice"),
        (header(0, 1, entry("general.alignment", 4, struct.pack("<I", 0))), "alignment is 0"),
        (header(1, 0, TENSOR + struct.pack("<QQIQ", 2**62, 2**62, 0, 0)), "ends at byte"),
        (header(1, 0, TENSOR + struct.pack("<QQIQ", 33, 1, 2, 0)), r"the shape \[1, 33\] in blocks of 32"),
        (header(1, 0, TENSOR + struct.pack("<QQIQ", 32, 1, 99, 0)), "unknown type 99"),
        (header(1, 0, TENSOR + struct.pack("<QQIQ", 0, 1, 0, 0)), "the shape"),
        (header(1, 0, entry("t", 2, b"")[:-4] + struct.pack("<I", 9)), "9 dimensions"),
    ],
)
def test_a_hostile_header_is_refused_by_its_number(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        open_gguf(tmp_path / "x.gguf")


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")
    (tmp_path / "y.gguf").mkdir()
    for name in ("x.gguf", "y.gguf"):
        with pytest.raises(ModelError, match="no regular file"):
            open_gguf(tmp_path / name)


def test_parts_of_a_split_model_are_read_as_one(whole: Path, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", split_max_tensors=4)
    writer.add_uint32("llama.block_count", 1)
    for number in range(10):
        writer.add_tensor(f"t{number}", np.full((1, 8), number, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) == 3
    assert len(open_gguf(parts[0]).tensors) == 10
    parts[2].unlink()
    with pytest.raises(ModelError, match=f"1 of 3 parts are missing: {parts[2].name}"):
        open_gguf(parts[0])
    parts[0].rename(tmp_path / "one.gguf")
    with pytest.raises(ModelError, match=r"one\.gguf is one of 3 parts"):
        open_gguf(tmp_path / "one.gguf")
