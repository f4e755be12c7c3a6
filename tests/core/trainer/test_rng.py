"""Random states: what a checkpoint holds of them goes on where it was."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from core.model.shards import open_shards
from core.parallel.setup import Ranks
from core.trainer.rng import restore_rng, rng_tensors


def test_a_restored_state_draws_what_would_have_come_next(tmp_path: Path) -> None:
    cpu, alone = torch.device("cpu"), Ranks.alone()
    torch.manual_seed(5)
    save_file(rng_tensors(cpu, alone), tmp_path / "state.safetensors")
    expected = torch.rand(4)
    torch.manual_seed(6)
    assert restore_rng(open_shards(tmp_path, "state"), cpu, alone)
    assert torch.equal(torch.rand(4), expected)


def test_a_run_of_fewer_ranks_has_no_state_for_this_one() -> None:
    assert not restore_rng({}, torch.device("cpu"), Ranks.alone())
