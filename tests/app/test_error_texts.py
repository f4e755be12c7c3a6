"""Every error of the library that a user can meet is said in Chinese too, with the same values."""

import ast
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import numpy as np
import pytest

from app.error_texts import IN_CHINESE, error_html, error_text
from core import errors
from core.config.train_config import TrainConfig
from core.data.gguf_file import open_gguf
from core.errors import ConfigError, DataError, ModelError, Sentence, SetupError
from rag.remarks import RefusedError

ROOT = Path(__file__).resolve().parents[2]
# What a terminal alone can show is English.
IN_TERMINALS = {
    f"app/{name}.py" for name in ("__main__", "listen_option", "loopback", "many_processes", "own_address", "password")
}
TO_CHAT = ("engine", "generator", "load", "loaded_adapters", "sampling", "scheduler")
TO_PROGRAMS = ("bnb", "tool_messages")  # remedies that callers say; what only the API is asked
FILES = [
    *(ROOT / "rag").rglob("*.py"),
    *(path for path in (ROOT / "app").glob("*.py") if path.relative_to(ROOT).as_posix() not in IN_TERMINALS),
    *(ROOT / "app" / "tabs").glob("*.py"),
    *(
        path
        for layer in ("config", "data", "evaluation", "hub", "model", "parallel", "trainer")
        for path in (ROOT / "core" / layer).glob("*.py")
        if path.stem not in TO_PROGRAMS
    ),
    *(ROOT / "core" / "inference" / f"{name}.py" for name in TO_CHAT),
    *(ROOT / "core" / name for name in ("database.py", "files.py")),
    *(path for path in (ROOT / "studio").glob("*.py") if path.stem != "proof"),  # its programs say their own
]
WITHOUT_KIND = ("Sentence", "UnrecognisedError")
RAISED = {name for name in vars(errors) if name.endswith("Error")} | {"error", "Sentence", "UnrecognisedError"}


def sentences_of(value: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    """The texts that an argument may be. Fails for one that is put together from values."""
    assert not isinstance(value, ast.JoinedStr), f"line {value.lineno}: name the values instead of an f-string"
    for part in ast.walk(value):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif isinstance(part, ast.Name) and part.id in constants:
            yield constants[part.id]


def constants_of(tree: ast.Module) -> dict[str, str]:
    """The texts that a module gives a name."""
    found = {}
    for node in tree.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({target.id: value.value for target in targets if isinstance(target, ast.Name)})
    return found


def said_by(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that are sentences of an error."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name == "read_json_object":
        return call.args[2:]
    if name == "Schema":
        return [keyword.value for keyword in call.keywords if keyword.arg in ("busy_remedy", "damaged_remedy")]
    return call.args if name in RAISED else []


def said_in(path: Path) -> Iterator[tuple[str, str, set[str]]]:
    """Place, sentence and the names of its values, of each error that a file raises."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = constants_of(tree)
    for call in ast.walk(tree):
        for argument in said_by(call) if isinstance(call, ast.Call) else ():
            values = {keyword.arg for keyword in call.keywords if keyword.arg}
            if getattr(call.func, "id", "") not in WITHOUT_KIND:
                values.discard("kind")  # of the error, which is no value
            for sentence in sentences_of(argument, constants):
                yield f"{path.relative_to(ROOT)}:{call.lineno}", sentence, values


def values_in(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


SAID = [found for path in FILES for found in said_in(path)]


def test_many_errors_were_found() -> None:
    assert len({sentence for _, sentence, _ in SAID}) > 50


@pytest.mark.parametrize(("place", "sentence", "values"), SAID)
def test_an_error_is_said_in_chinese_with_its_values(place: str, sentence: str, values: set[str]) -> None:
    assert sentence in IN_CHINESE, f"{place} says what app/error_texts.py has no Chinese for"
    assert values_in(sentence) == values_in(IN_CHINESE[sentence])
    assert values_in(sentence) <= values


def test_the_page_says_an_error_in_its_language() -> None:
    error = DataError("The collection {name} has {count} documents.", "Move or remove them first.", name="{x}", count=3)
    assert error_text(error, "en") == "The collection {x} has 3 documents. Move or remove them first."
    assert error_text(error, "zh") == "资料集 {x} 中还有 3 个文档。请先移动或移除它们。"
    assert error_html(DataError("<b>", "{c}"), "zh") == '<p class="error">&lt;b&gt;{c}</p>'


def test_a_whole_number_of_numpy_is_one() -> None:
    error = DataError("The prompts of pair {pair:,} of the {split} split differ.", "", pair=np.int64(1200), split="t")
    assert error.message == "The prompts of pair 1,200 of the t split differ."
    assert json.loads(json.dumps(error.to_dict()))["values"]["pair"] == 1200


def test_what_an_error_is_about_is_named_in_its_language() -> None:
    error = SetupError(
        "The {what} {path} is damaged: {reason}.", "Look at it.", what="library", path=Path("a.db"), reason=OSError("x")
    )
    assert error_text(error, "zh") == "资料库 a.db 已损坏：x。Look at it."


def test_a_file_that_is_refused_says_why_in_chinese() -> None:
    refused = RefusedError("too_many_pages", count=30_000, most=20_000).about("lease.pdf")
    assert error_text(refused, "zh") == "lease.pdf：文件有 30,000 页，最多读取 20,000 页。请拆分后再添加。"


def test_everything_wrong_with_settings_is_said_in_chinese() -> None:
    wrong = {"data": "d", "output": "o", "max_steps": 0, "lora_rank": "x", "optimizer": "sgd", "lr": 1}
    with pytest.raises(ConfigError) as problem:
        TrainConfig.from_dict(wrong)
    told = error_text(problem.value, "zh")
    for words in (
        "max_steps 的值是 0，最小为 1",
        "lora_rank 的值是 'x'，类型应为 int",
        "optimizer 的值是 'sgd'",
        "没有选项“lr”",
    ):
        assert words in told
    with pytest.raises(ConfigError) as problem:
        TrainConfig.from_dict(
            {"data": "d", "output": "o", "schedule": {"kind": "wsd", "warmup_ratio": 0.9}, "beta": 0.5}
        )
    told = error_text(problem.value, "zh")
    assert "schedule：warmup_ratio 0.9 与 decay_ratio 0.2 之和超过 1" in told
    assert "beta 属于 dpo 阶段，而不是 pt" in told


def test_a_reason_within_a_sentence_is_said_in_chinese_and_goes_through_a_pipe(tmp_path: Path) -> None:
    broken = tmp_path / "small.gguf"
    broken.write_bytes(b"GGUF" + struct.pack("<IQQ", 9, 1, 1) + bytes(64))
    with pytest.raises(ModelError) as problem:
        open_gguf(broken)
    heard = ModelError.from_dict(json.loads(json.dumps(problem.value.to_dict())))
    assert str(heard) == str(problem.value)
    told = "small.gguf（88 字节）不是完整的 GGUF 文件：其版本是 9，而不是 2 或 3。请重新下载。"
    assert error_text(heard, "zh") == told


def test_the_problems_of_settings_within_a_sentence_are_said_in_chinese() -> None:
    settings = ConfigError.of([Sentence("{name} is {value}, not a {wanted}", name="a", value=1, wanted="str")], "Mend.")
    error = ModelError("config.json cannot be right: {reason}.", "Look.", reason=settings.sentence)
    assert str(error) == "config.json cannot be right: a is 1, not a str. Look."
    assert error_text(error, "zh") == "config.json 有误：a 的值是 1，类型应为 str。Look."


def test_braces_in_a_sentence_without_values_are_themselves() -> None:
    assert DataError("{a}", "{b}").sentence == "{a}"
    assert error_text(DataError("{x}.", "y", x=DataError("{a}", "b").sentence), "zh") == "{a}.y"
