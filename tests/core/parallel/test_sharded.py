"""Shards: any number of ranks reads the rows that any other number wrote, and only those."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ModelError
from core.files import sha256_file
from core.model.shards import Part, ShardedTensor, index_of, open_shards
from core.model.weight_files import has_shards, shard_files
from core.parallel.setup import Ranks
from core.parallel.sharded import row_range, write_index, write_part

ROWS = torch.arange(21.0).view(7, 3)


def write_shards(folder: Path, world_size: int) -> None:
    """ROWS and a count of steps, as so many ranks of FSDP2 write them."""
    folder.mkdir()
    for rank in range(world_size):
        ranks = Ranks(rank, world_size)
        first, last = row_range(7, ranks)
        file = f"model-rank-{rank:05d}.safetensors"
        tensors = {"rows": ROWS[first:last].contiguous()} if first < last else {}
        table = {
            name: ShardedTensor(folder, name, "F32", (7, 3), (Part(file, first, last - first),)) for name in tensors
        }
        if rank == 0:
            tensors["step"] = torch.tensor(5.0)
            table["step"] = ShardedTensor(folder, "step", "F32", (), (Part(file, 0, 1),))
        save_file(tensors, folder / file)
        note = index_of(table, {file: sha256_file(folder / file)})
        (folder / f"{file}.json").write_text(json.dumps(note))
    write_index(folder, "model", world_size)


@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_rows_are_dealt_out_as_torch_chunks_them(count: int) -> None:
    dealt = [row_range(7, Ranks(rank, count)) for rank in range(count)]
    sizes = [len(chunk) for chunk in ROWS.chunk(count)]
    assert [last - first for first, last in dealt if first < last] == sizes
    assert dealt[-1][1] == 7


@pytest.mark.parametrize("written", [1, 2, 3, 9])
@pytest.mark.parametrize("read", [1, 2, 3, 9])
def test_any_number_of_ranks_reads_what_any_other_wrote(tmp_path: Path, written: int, read: int) -> None:
    write_shards(tmp_path / "model", written)
    stored = open_shards(tmp_path / "model", "model")
    parts = [stored["rows"].read_rows(*row_range(7, Ranks(rank, read))) for rank in range(read)]
    assert torch.equal(torch.cat(parts), ROWS)
    assert torch.equal(stored["rows"].read(), ROWS)
    assert stored["step"].read().item() == 5


def test_a_rank_reads_only_the_files_of_its_rows(tmp_path: Path) -> None:
    write_shards(tmp_path / "model", 2)
    stored = open_shards(tmp_path / "model", "model")["rows"]
    (tmp_path / "model/model-rank-00000.safetensors").unlink()
    assert torch.equal(stored.read_rows(4, 7), ROWS[4:])


def test_one_file_without_an_index_reads_alike(tmp_path: Path) -> None:
    save_file({"rows": ROWS, "step": torch.tensor(5.0)}, tmp_path / "optimizer.safetensors")
    stored = open_shards(tmp_path, "optimizer")
    assert not has_shards(tmp_path, "optimizer")
    assert torch.equal(stored["rows"].read_rows(2, 5), ROWS[2:5])
    assert stored["step"].read().item() == 5


def test_what_every_rank_holds_is_written_once(tmp_path: Path) -> None:
    for rank in range(2):
        write_part({"step": torch.tensor(3.0)}, tmp_path, "optimizer", Ranks(rank, 2))
    write_index(tmp_path, "optimizer", 2)
    assert [part.file for part in open_shards(tmp_path, "optimizer")["step"].parts] == [
        "optimizer-rank-00000.safetensors"
    ]
    assert [file.name for file in shard_files(tmp_path, "optimizer")] == [
        "optimizer-rank-00000.safetensors",
        "optimizer-rank-00001.safetensors",
    ]
    assert not list(tmp_path.glob("*.safetensors.json"))


def test_a_rank_whose_part_is_on_another_disk_is_noticed(tmp_path: Path) -> None:
    write_part({"step": torch.tensor(3.0)}, tmp_path, "optimizer", Ranks(0, 2))
    with pytest.raises(ModelError, match=r"optimizer-rank-00001.* The run folder must be the same for all machines"):
        write_index(tmp_path, "optimizer", 2)


def test_a_missing_file_and_missing_rows_are_named(tmp_path: Path) -> None:
    write_shards(tmp_path / "model", 2)
    index = tmp_path / "model/model.shards.json"
    values = json.loads(index.read_text())
    values["tensors"]["rows"]["parts"].pop()
    index.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"rows in .* has 4 of 7 rows"):
        open_shards(tmp_path / "model", "model")
    (tmp_path / "model/model-rank-00001.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks model-rank-00001\.safetensors"):
        shard_files(tmp_path / "model", "model")


def test_an_index_that_points_outside_its_folder_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "model", 1)
    index = tmp_path / "model/model.shards.json"
    index.write_text(index.read_text().replace("model-rank-00000", "../model-rank-00000"))
    with pytest.raises(ModelError, match="points outside its folder"):
        open_shards(tmp_path / "model", "model")
