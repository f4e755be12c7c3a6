"""Say what this machine has, what AstrAI will use of it, and what is missing and how to get it."""

import json
import os
import time
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

OTHERS = 0o077  # permission bits of group and others


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
        "shell": shell(),
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


def shell() -> dict[str, Any]:
    """The page and its folder: who runs, which port is next, what others may read, the log, what was fetched."""
    from app.instance import running_instance
    from app.machine_speed import known_speed
    from app.paths import log_file
    from app.receipt import Receipt
    from app.server import PORTS
    from app.settings import Settings
    from core.folders import data_dir

    folder, log, running, speed = data_dir(), log_file(), running_instance(data_dir()), known_speed()
    visits = Receipt(folder).visits()
    return {
        "instance": None if running is None else asdict(running) | {"address": running.address},
        "free_port": next((port for port in PORTS if is_free(port)), None),
        "readable_by_others": readable_by_others(folder),
        "log": {"path": str(log), "bytes": log.stat().st_size if log.exists() else 0},
        "idle_minutes": Settings(folder).values.idle_minutes,
        "speed": None if speed is None else asdict(speed),
        "receipt": {"visits": len(visits), "hosts": sorted({host for visit in visits for host in visit.hosts})},
    }


def readable_by_others(folder: Path) -> list[str]:
    """What in the data folder other users may read, if they may enter it; the folder itself is `.`."""
    if os.name == "nt":
        return []
    paths = [folder] if folder.stat().st_mode & OTHERS else []
    paths += [path for path in folder.rglob("*") if not path.is_symlink() and path.stat().st_mode & OTHERS]
    return [path.relative_to(folder).as_posix() for path in paths]


def shell_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The part of the report about the page and its folder."""
    instance, open_paths, speed, receipt = (
        facts[name] for name in ("instance", "readable_by_others", "speed", "receipt")
    )
    runs = f"process {instance['pid']} at {instance['address']}" if instance else "none runs on this folder"
    privacy = f"others may read {len(open_paths)}: {', '.join(open_paths[:3])}" if open_paths else "the user's alone"
    measured = (
        f"{speed['read_gb_per_s']} GB/s, {speed['fp32_gflop_per_s']} GFLOP/s on {day(speed['measured_at'])}"
        if speed
        else "not measured yet"
    )
    visits = f"{receipt['visits']} connections, to {', '.join(receipt['hosts'])}" if receipt["visits"] else "nothing"
    return [
        ("page", f"{runs}; next port {facts['free_port'] or 'none is free'}"),
        ("permissions", privacy),
        ("log", f"{facts['log']['path']}, {facts['log']['bytes'] / 1e3:.1f} kB"),
        ("model leaves memory", f"after {facts['idle_minutes']} idle minutes" if facts["idle_minutes"] else "never"),
        ("speed on record", measured),
        ("left this machine", visits),
    ]


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


def is_free(port: int) -> bool:
    """Whether the page could listen there."""
    from app.loopback import listen
    from core.errors import SetupError

    try:
        listen(port, range(0)).close()
    except SetupError:
        return False
    return True


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
        *shell_rows(facts["shell"]),
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
