"""Both languages are whole, and every text that the code asks for exists."""

import re
import string
from collections import Counter
from pathlib import Path

import pytest

import app
from app.i18n import LANGUAGES, TEXTS, preferred_language, t

SOURCES = [path.read_text(encoding="utf-8") for path in Path(app.__file__).parent.rglob("*.py")]


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_text_is_there_in_both_languages_with_the_same_places() -> None:
    for key, texts in TEXTS.items():
        assert set(texts) == set(LANGUAGES), key
        assert places(texts["en"]) == places(texts["zh"]), key


def test_no_text_takes_the_place_of_another() -> None:
    texts = "\n".join(source for source in SOURCES if "TEXTS: dict[str, dict[str, str]]" in source)
    keys = re.findall(r"""^    "(\w+)": \{""", texts, re.MULTILINE)
    assert [key for key, count in Counter(keys).items() if count > 1] == []


def test_chinese_texts_are_chinese() -> None:
    assert [key for key, texts in TEXTS.items() if not re.search("[\u4e00-\u9fff]", texts["zh"])] == []


def test_every_key_in_the_code_exists_and_every_text_is_used() -> None:
    code = "\n".join(SOURCES)
    asked = set(re.findall(r"""\bt\(\s*["'](\w+)["']""", code))
    assert asked <= set(TEXTS)
    elsewhere = "\n".join(source for source in SOURCES if "TEXTS: dict[str, dict[str, str]]" not in source)
    begun = tuple(re.findall(r"""\bt\(\s*f?["'](\w+_)(?:\{|["'] \+)""", code))
    unused = {key for key in TEXTS if f'"{key}"' not in elsewhere and f"'{key}'" not in elsewhere}
    assert {key for key in unused if not key.startswith(("example_", *begun))} == set()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-TW", "zh"),
        ("en-US,en;q=0.9,zh;q=0.5", "en"),
        ("de-DE,zh;q=0.4", "zh"),
        ("fr", "en"),
        ("", "en"),
    ],
)
def test_the_browsers_language_decides(header: str, language: str) -> None:
    assert preferred_language(header) == language


def test_places_are_filled() -> None:
    assert "starter" in t("loading", "zh", name="starter")
