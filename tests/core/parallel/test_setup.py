"""Ranks: what one process is told of the others, and where it trains."""

import pytest
import torch

from core.errors import ConfigError
from core.model.device import num_usable_cores
from core.parallel.setup import GLOO, GLOO_AND_NCCL, Ranks, join_ranks


def test_a_process_alone_agrees_with_itself() -> None:
    ranks = Ranks.alone()
    assert ranks.is_first
    assert not ranks.is_group
    assert ranks.sum_(torch.tensor([3.0])).tolist() == [3.0]
    assert ranks.total(4) == ranks.from_first(4) == 4
    assert [ranks.any_true(True), ranks.any_true(False)] == [True, False]
    assert ranks.share([1, 2, 3]) == [1, 2, 3]
    assert ranks.first_problem("full") == "full"
    assert [part.tolist() for part in ranks.gather(torch.tensor([1, 2]))] == [[1, 2]]
    ranks.barrier()


def test_without_torchrun_nothing_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # some schedulers set it for every process
    with join_ranks("cpu") as ranks:
        assert ranks == Ranks.alone()
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("count", "expected"), [(6, [[0, 1], [2, 3], [4, 5]]), (4, [[0], [1], [2, 3]])])
def test_shares_are_in_order_and_leave_nothing_out(count: int, expected: list[list[int]]) -> None:
    assert [Ranks(rank, 3).share(list(range(count))) for rank in range(3)] == expected


def test_cores_are_divided_among_the_processes_of_a_machine() -> None:
    cores = num_usable_cores()
    assert Ranks(0, 1).num_threads(0) == cores
    assert Ranks(0, 8, local_world_size=2).num_threads(0) == max(cores // 2, 1)
    assert Ranks(0, 8, local_world_size=1000).num_threads(0) == 1
    assert Ranks(0, 8, local_world_size=2).num_threads(5) == 5


def test_several_ranks_train_on_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    ranks = Ranks(0, 2, local_world_size=2, backend=GLOO)
    assert ranks.device("auto") == ranks.device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'cuda' is not available"):
        ranks.device("cuda")
    with pytest.raises(ConfigError, match="device mps cannot train on several processes"):
        ranks.device("mps")


def test_every_rank_of_a_machine_needs_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Ranks(0, 2, local_world_size=2, backend=GLOO_AND_NCCL).device("auto").type == "cuda"
    with pytest.raises(ConfigError, match="3 processes on this machine need as many GPUs, it has 2"):
        Ranks(0, 3, local_world_size=3, backend=GLOO_AND_NCCL).device("auto")


@pytest.mark.gpu
def test_nccl_sums_on_one_gpu() -> None:
    from tests.core.parallel.job import launch

    result = launch(1, "tests.core.parallel.one_rank", "cuda")
    assert result.stdout.split() == ["1", "cuda:0", "3.0"], result.stderr
