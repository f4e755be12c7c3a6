"""Token shards: views of the map, whole or absent, and checked."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest

from core.data.mmap_file import MmapFileHandler
from core.errors import DataError


def write(folder: Path, documents: list[list[int]], *, kind: str = "pt", vocab_size: int = 300) -> Path:
    writer = MmapFileHandler.writer(folder, kind=kind, vocab_size=vocab_size, fingerprint="f", shard_tokens=6)
    for document in documents:
        writer.add("train", document, [1] * len(document), num_bytes=10)
    writer.close(sources=[], report={})
    return folder


def test_documents_come_back_over_several_shards(tmp_path: Path) -> None:
    documents = [[1, 2, 3], [4], [5, 6, 7, 8, 299], [9], [10, 11]]
    handler = MmapFileHandler(write(tmp_path / "d", documents), verify=True)
    assert [handler.tokens("train", i).tolist() for i in range(5)] == documents
    assert handler.lengths("train").tolist() == [3, 1, 5, 1, 2]
    assert (handler.num_documents("train"), handler.num_tokens("train"), handler.num_bytes("train")) == (5, 12, 50)
    assert len(handler.splits["train"].shards) > 1


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65536, "uint16"), (65537, "uint32")])
def test_ids_take_two_bytes_where_they_fit(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    handler = MmapFileHandler(write(tmp_path / "d", [[vocab_size - 1]], vocab_size=vocab_size))
    assert handler.tokens("train", 0).dtype == dtype
    assert handler.tokens("train", 0)[0] == vocab_size - 1


def test_tensor_and_documents_share_the_maps_memory(tmp_path: Path) -> None:
    handler = MmapFileHandler(write(tmp_path / "d", [[1, 2, 3], [4, 5, 6]]))
    shard = handler.splits["train"].shards[0].tokens
    assert isinstance(shard, np.memmap)
    assert handler.tensor("train", 0).data_ptr() == shard.ctypes.data
    assert np.shares_memory(handler.tokens("train", 0), shard)


def test_opening_a_shard_of_two_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", [[1, 2, 3]])
    manifest = json.loads((folder / "dataset.json").read_text())
    count = 2**30
    shard = manifest["splits"]["train"]["shards"][0]
    shard["num_tokens"] = manifest["splits"]["train"]["num_tokens"] = count
    (folder / "dataset.json").write_text(json.dumps(manifest))
    os.truncate(folder / "train-00000.tokens.bin", 2 * count)
    np.array([0, count], dtype="<i8").tofile(folder / "train-00000.offsets.bin")
    before = psutil.Process().memory_info().rss
    handler = MmapFileHandler(folder)
    tensor = handler.tensor("train", 0)
    assert tensor.shape == (count,)
    assert int(tensor[-1]) == 0
    assert psutil.Process().memory_info().rss - before < 10 * 2**20


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", [[1, 2, 3]])
    path = folder / "train-00000.tokens.bin"
    content = bytearray(path.read_bytes())
    content[2] ^= 1
    path.write_bytes(content)
    MmapFileHandler(folder)
    with pytest.raises(DataError, match=r"train-00000\.tokens\.bin has the hash [0-9a-f]{12}…, [0-9a-f]{12}… was"):
        MmapFileHandler(folder, verify=True)


def test_a_cut_file_is_named_with_both_sizes(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", [[1, 2, 3]])
    os.truncate(folder / "train-00000.tokens.bin", 4)
    with pytest.raises(DataError, match="has 4 bytes, 6 were written"):
        MmapFileHandler(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "evil"},
        {"vocab_size": -1},
        {"splits": {"train": {"num_tokens": 1}}},
        {"splits": {"train": {"num_tokens": -1, "num_bytes": 0, "shards": []}}},
        {"format": "other"},
        {
            "splits": {
                "train": {
                    "num_tokens": 1,
                    "num_bytes": 0,
                    "shards": [{"name": "../x", "num_tokens": 1, "num_documents": 1, "files": {}}],
                }
            }
        },
    ],
)
def test_a_manifest_that_lies_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = write(tmp_path / "d", [[1, 2, 3]])
    manifest = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(DataError):
        MmapFileHandler(folder)


def test_a_killed_writer_leaves_the_old_data_set(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", [[1, 2, 3]])
    program = f"""
        import sys
        from pathlib import Path
        from core.data.mmap_file import MmapFileHandler
        writer = MmapFileHandler.writer(Path({str(folder)!r}), kind="pt", vocab_size=300, fingerprint="f")
        print("ready", flush=True)
        while True:
            writer.add("train", [7] * 100)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert MmapFileHandler(folder, verify=True).tokens("train", 0).tolist() == [1, 2, 3]


def test_a_folder_without_a_data_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset\.json.*`prepare`"):
        MmapFileHandler(tmp_path)


def test_a_writer_clears_away_what_killed_ones_left_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = {number: tmp_path / f".d.{number}.tmp" for number in (dead.pid, os.getppid())}
    for folder in left.values():
        folder.mkdir()
    write(tmp_path / "d", [[1, 2, 3]])
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "d", left[os.getppid()]])
