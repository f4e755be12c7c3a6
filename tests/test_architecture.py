"""The shape of the code: who may import whom, what loads without which library, sizes and bans."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "core", "rag", "studio")
LAYERS = (
    *(
        "errors",
        "files",
        "folders",
        "database",
        "config",
        "hub",
        "data",
        "kernels",
        "model",
        "parallel",
        "inference",
        "trainer",
    ),
    "evaluation",
)
# A file beside the folders of core belongs above the layers that it puts together.
TOP_FILES = ("__init__",)
MAY_IMPORT = {
    "core": {"core"},
    "rag": {"rag", "core.database", "core.errors", "core.files", "core.parallel.priority"},
    "studio": {
        "studio",
        "core.errors",
        "core.files",
        "core.config",
        "core.data",
        "core.model.folder",
        "core.model.weight_files",
        "core.parallel.failure",
        "core.parallel.launch",
        "core.parallel.priority",
        "core.parallel.program",
    },
}
INTERFACE_LIBRARIES = {"gradio", "fastapi", "faiss", "sentence_transformers", "uvicorn", "starlette"}
SERVER_FOLDER = "core/inference/server/"
WITHOUT_TORCH = (
    "core",
    "core.errors",
    "core.database",
    "core.files",
    "core.hub",
    "core.hub.child",
    "core.config.schema",
    "core.config.model_config",
    "core.config.param_config",
    "core.config.schedule_config",
    "core.config.train_config",
    "core.data.tokenizer",
    "core.data.chat_template",
    "core.data.mmap_file",
    "core.data.prepare",
    "core.data.metric_rows",
    "studio",
    "studio.bottleneck",
    "studio.datasets",
    "studio.estimate",
    "studio.form",
    "studio.metrics_stream",
    "studio.model_registry",
    "studio.presets",
    "studio.sample_data",
    "studio.token_inspector",
    "rag.embedding",
    "rag.text",
    "app.__main__",
    "app.bootstrap",
    "app.bootstrap.setup",
    "app.machine",
    "app.preferences",
    "app.preference_files",
    "app.server",
    "app.ui",
    "studio",
    "studio.supervisor",
    "studio.queue_keeper",
    "studio.prepare_files",
    "app.commands.runs",
    "app.commands.tail",
    "rag.chunking",
    "rag.parsing",
    "rag.parsing.child",
)
MAX_FILE_LINES = 420
MAX_FUNCTION_LINES = 60
BANNED = {
    "pickle": r"^\s*(import|from) (pickle|dill|cloudpickle)\b|torch\.load\((?!.*weights_only=True)",
    "shell=True": r"shell=True",
    "eval": r"(?<![\w.])(eval|exec)\(",
    "trust_remote_code": r"trust_remote_code\s*=\s*True",
    "os.system": r"os\.system\(",
}

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
WITH_TESTS = [
    *SOURCES,
    ROOT / "launch.py",
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_modules(path: Path) -> Iterator[str]:
    """Every module a file imports, anywhere in it; `from a import b` gives both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def layer_of(module: str) -> int:
    """The position of a module of core; files beside the folders come last."""
    part = [*module.split("."), ""][1]
    return LAYERS.index(part) if part in LAYERS else len(LAYERS)


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may_of_ours(package: str) -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for module in imported_modules(path)
        if is_within(module, set(PACKAGES)) and not is_within(module, MAY_IMPORT[package])
    ]
    assert wrong == []


def test_core_imports_leftwards_only() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in sorted((ROOT / "core").rglob("*.py"))
        for module in imported_modules(path)
        if module.startswith("core.")
        and layer_of(module) > layer_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    ]
    assert wrong == []


def test_every_file_beside_the_folders_of_core_is_known() -> None:
    names = {path.stem for path in (ROOT / "core").glob("*.py")}
    assert names <= {*LAYERS, *TOP_FILES}


def test_core_imports_no_library_of_the_interface() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in sorted((ROOT / "core").rglob("*.py"))
        for module in imported_modules(path)
        if is_within(module, INTERFACE_LIBRARIES) and not name_of(path).startswith(SERVER_FOLDER)
    ]
    assert wrong == []


def test_the_bootstrap_imports_the_standard_library_only() -> None:
    allowed = {*sys.stdlib_module_names, "app.bootstrap", "app.commands", "app.variables", "core.errors"}
    files = [ROOT / name for name in ("launch.py", "app/commands/__init__.py", "app/variables.py", "core/errors.py")]
    files += sorted((ROOT / "app/bootstrap").glob("*.py"))
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in files
        for module in imported_modules(path)
        if not is_within(module, allowed)
    ]
    assert wrong == []


def test_core_imports_without_the_libraries_of_the_interface() -> None:
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {INTERFACE_LIBRARIES}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Refuse())
import core
core.load, core.train, core.evaluate, core.quantize, core.export, core.download, core.AssistantError
"""
    result = run_python(program)
    assert result.returncode == 0, result.stderr


def test_modules_of_the_first_page_load_without_torch() -> None:
    program = """
import importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    result = run_python(program, *WITHOUT_TORCH)
    assert result.returncode == 0, result.stderr


def test_the_first_page_loads_without_the_library() -> None:
    program = "import sys, app.server, app.library_routes, app.ui; print(*{'faiss', 'rag'} & set(sys.modules))"
    result = run_python(program)
    assert result.stdout.strip() == "", result.stderr


def test_files_are_short_enough_to_read() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in WITH_TESTS}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_are_short_enough_to_read() -> None:
    long = [
        f"{name_of(path)}: {node.name}"
        for path in WITH_TESTS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


def test_modules_say_what_they_are() -> None:
    trees = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_files_use_nothing_that_runs_foreign_code() -> None:
    used = [
        f"{name_of(path)}: {name}"
        for path in (*SOURCES, ROOT / "launch.py")
        for name, pattern in BANNED.items()
        if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert used == []


def test_a_rule_for_the_dark_page_has_one_selector() -> None:
    """Before each further selector of a list Gradio puts its own container, in which nothing is `.dark`."""
    styles = (ROOT / "app" / "static").glob("*.css")
    rules = [rule for path in styles for rule in path.read_text(encoding="utf-8").splitlines()]
    assert [rule for rule in rules if re.search(r",\s*\.dark\b", rule.partition("{")[0])] == []
