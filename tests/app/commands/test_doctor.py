"""The report of `doctor`, for people and for programs."""

import json
from argparse import ArgumentParser

import pytest

from app import machine
from app.commands import doctor


def run(*options: str) -> int:
    parser = ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.run(parser.parse_args(options))


@pytest.fixture(autouse=True)
def computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch would say, without the seconds it takes to load."""
    facts = {"device": "cpu", "num_threads": 2, "training_precision": "float32"}
    monkeypatch.setattr(machine, "computing", lambda: facts)


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["computing"]["training_precision"] == "float32"
    assert facts["processor"]["num_logical_cores"] >= 1


def test_a_table_says_what_will_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    lines = capsys.readouterr().out.splitlines()
    assert "runs on                cpu, 2 threads" in lines
    assert "trains in              float32" in lines


def test_measured_speeds_join_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    speeds = {"read_gb_per_s": 23.0, "fp32_gflop_per_s": 90.5, "bf16_gflop_per_s": 20.0}
    monkeypatch.setattr(machine, "measure", lambda: speeds)
    run("--measure")
    assert "matrix product fp32    90.5 GFLOP/s" in capsys.readouterr().out


def test_a_torch_that_does_not_load_is_listed_as_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(machine, "computing", fail)
    assert run("--measure") == 0
    assert "it does not load (libtorch_cpu.so" in capsys.readouterr().out


def test_a_machine_that_lacks_nothing_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.print_missing([])
    assert capsys.readouterr().out == "\nNothing is missing.\n"
