"""Which torch a machine gets, for each plan that pip may have."""

import json

import pytest

from app.bootstrap import torch_build
from app.bootstrap.torch_build import Plan, index_url, parse_plan
from core.errors import SetupError

PLAIN = Plan(packages={"torch": "2.13.0", "sympy": "1.14"})
WITH_CUDA = Plan(packages={"torch": "2.13.0", "nvidia-cublas": "13.1", "triton": "3.7"})
CHOSEN_CUDA = Plan(packages={"torch": "2.13.0+cu130"})
CHOSEN_CPU = Plan(packages={"torch": "2.13.0+cpu"})


@pytest.mark.parametrize(
    ("plan", "choice", "has_gpu", "folder"),
    [
        (PLAIN, "auto", False, None),
        (PLAIN, "auto", True, "cu130"),
        (PLAIN, "cpu", True, None),
        (PLAIN, "cuda", False, "cu130"),
        (WITH_CUDA, "auto", False, "cpu"),
        (WITH_CUDA, "auto", True, None),
        (WITH_CUDA, "cpu", True, "cpu"),
        (WITH_CUDA, "cuda", False, None),
        (CHOSEN_CPU, "auto", True, None),
        (CHOSEN_CUDA, "auto", False, None),
        (CHOSEN_CUDA, "cuda", True, None),
        (CHOSEN_CUDA, "cpu", True, "cpu"),
        (CHOSEN_CPU, "cuda", True, "cu130"),
    ],
)
def test_the_index_follows_from_plan_choice_and_card(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, choice: str, has_gpu: bool, folder: str | None
) -> None:
    monkeypatch.setattr(torch_build, "has_nvidia_gpu", lambda: has_gpu)
    monkeypatch.setattr(torch_build.sys, "platform", "linux")
    assert index_url(plan, choice=choice) == (folder and torch_build.WHEEL_INDEX + folder)


@pytest.mark.parametrize("choice", ["auto", "cpu", "cuda"])
def test_a_mac_takes_the_plain_plan(monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    monkeypatch.setattr(torch_build.sys, "platform", "darwin")
    assert index_url(PLAIN, choice=choice) is None


def test_a_report_of_pip_is_read_after_its_warnings() -> None:
    items = [{"metadata": {"name": "torch", "version": "2.13.0+cpu"}}, {"metadata": {"name": "triton", "version": "3"}}]
    plan = parse_plan("WARNING: something\n" + json.dumps({"version": "1", "install": items}))
    assert plan.packages == {"torch": "2.13.0+cpu", "triton": "3"}
    assert plan.has_cuda
    assert plan.is_chosen_build


@pytest.mark.parametrize("report", ["", "{}", "no json {"])
def test_a_report_that_is_none_is_said_so(report: str) -> None:
    with pytest.raises(SetupError, match="which torch"):
        parse_plan(report)
