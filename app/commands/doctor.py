"""Say what this machine has, what AstrAI will use of it, and what is missing and how to get it."""

import json
from argparse import ArgumentParser, Namespace
from typing import Any


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--measure", action="store_true", help="also measure memory and matrix speed (some seconds)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(arguments: Namespace) -> int:
    facts = collect(measures=arguments.measure)
    for name, value in rows(facts):
        print(f"{name:22} {value}")
    print_missing(facts["missing"])
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False))
    return 0


def collect(*, measures: bool) -> dict[str, Any]:
    """Everything that is known, as plain data."""
    from app import machine
    from app.machine_speed import keep_speed
    from core.folders import data_dir

    facts: dict[str, Any] = {
        "processor": machine.processor(),
        **machine.storage(),
        "graphics": machine.graphics(),
        "computing": None,
        "kernels": None,
        "data_dir": str(data_dir()),
        "versions": machine.versions(),
        "missing": machine.missing(),
    }
    try:
        facts["computing"] = machine.computing()
    except (ImportError, OSError) as exc:  # torch without the system libraries that it links against
        facts["missing"].append(
            {"name": "torch", "for": "every model", "remedy": f"it does not load ({exc}); delete .venv and start again"}
        )
    try:
        facts["kernels"] = machine.kernels()
    except (ImportError, OSError) as exc:
        remedy = f"numba does not load ({exc}); delete .venv and start again"
        facts["missing"].append({"name": "numba", "for": "fast answers on the processor", "remedy": remedy})
    if measures and facts["computing"]:
        facts["measured"] = machine.measure()
        keep_speed(facts["measured"])
    return facts


def rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The report for people: name and value of each line."""
    processor, computing = facts["processor"], facts["computing"]
    cards = [f"{card['name']} ({card['memory_mib'] / 1024:.0f} GiB)" for card in facts["graphics"]]
    cores = ", ".join(f"{processor[f'num_{kind}_cores']} {kind}" for kind in ("physical", "logical", "usable"))
    lines = [
        ("processor", f"{processor['model']} ({processor['architecture']})"),
        ("cores", cores),
        ("instruction sets", ", ".join(processor["instruction_sets"]) or "none that matter here"),
        ("memory", f"{gib(facts['memory_bytes'])}, {gib(facts['memory_free_bytes'])} free"),
        ("graphics cards", ", ".join(cards) or "none"),
        ("data folder", f"{facts['data_dir']}, {gib(facts['disk_free_bytes'])} free on its disk"),
    ]
    if computing:
        lines.append(("runs on", f"{computing['device']}, {computing['num_threads']} threads"))
        lines.append(("trains in", computing["training_precision"]))
    if kernels := facts["kernels"]:
        tried = "" if kernels["is_tried"] else " (untested by us: checked against torch at every start)"
        compiled = "compiled" if kernels["is_compiled"] else "compiled at first use"
        lines.append(("kernels", f"{kernels['variant']}{tried}, {kernels['threading']}; {compiled}"))
    if measured := facts.get("measured"):
        lines.append(("memory read", f"{measured['read_gb_per_s']} GB/s"))
        lines.append(("matrix product fp32", f"{measured['fp32_gflop_per_s']} GFLOP/s"))
        lines.append(("matrix product bf16", f"{measured['bf16_gflop_per_s']} GFLOP/s"))
    return lines + [(name, version or "not installed") for name, version in facts["versions"].items()]


def print_missing(missing: list[dict[str, str]]) -> None:
    """The list of what to get, or that there is nothing to get."""
    if not missing:
        print("\nNothing is missing.")
        return
    print("\nMissing:")
    for item in missing:
        print(f"  {item['name']}, for {item['for']}: {item['remedy']}")


def gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
