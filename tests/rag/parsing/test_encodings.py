"""Bytes of every encoding that files on a Chinese or European disk have."""

import codecs

import pytest

from core.errors import DocumentError
from rag.parsing.encodings import decode

SIMPLIFIED = "这是一个简短的说明：请把文件放在这个目录里，然后打开程序。如果没有反应，重新启动电脑再试一次。"
TRADITIONAL = "這是一個簡短的說明：請把檔案放在這個目錄裡，然後打開程式。如果沒有反應，重新啟動電腦再試一次。"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("text", ["Plain English words, a whole line of them.\n", "Straße, naïve, café 😀\n" * 3])
def test_unicode_is_read_with_and_without_a_mark(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == (text, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"])
def test_simplified_chinese_is_read(encoding: str) -> None:
    assert decode(SIMPLIFIED.encode(encoding)) == (SIMPLIFIED, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "big5", "gb18030"])
def test_traditional_chinese_is_read(encoding: str) -> None:
    assert decode(TRADITIONAL.encode(encoding)) == (TRADITIONAL, None)


@pytest.mark.parametrize("length", [6, 10, 16, 24])
def test_a_few_words_of_chinese_are_enough(length: int) -> None:
    for text, encoding in ((SIMPLIFIED, "gb18030"), (TRADITIONAL, "big5")):
        pieces = [text[i : i + length] for i in range(len(text) - length)]
        right = [decode(piece.encode(encoding))[0] == piece for piece in pieces]
        assert sum(right) >= 0.9 * len(right), f"{encoding}: {sum(right)} of {len(right)}"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("L'été était très chaud. El niño comió paella con ñoquis. ¡Qué día! Mannen frågade efter João.", "cp1252"),
        ("Zażółć gęślą jaźń. Przykładowy tekst w języku polskim, który ma sens.", "cp1250"),
        ("Съешь же ещё этих мягких французских булок, да выпей чаю.", "cp1251"),
        ("これは日本語の短い文章です。ファイルを開いてください。", "cp932"),
        ("이것은 짧은 한국어 문장입니다. 파일을 여십시오.", "cp949"),
    ],
)
def test_other_languages_are_read(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == (text, None)


def test_a_page_says_what_it_is() -> None:
    page = '<html><meta charset="gb2312"><p>简</p></html>'
    assert decode(page.encode("gb18030")) == (page, None)
    feed = f'<?xml version="1.0" encoding="big5"?><a>{TRADITIONAL}</a>'
    assert decode(feed.encode("big5")) == (feed, None)


def test_a_page_that_lies_is_read_all_the_same() -> None:
    page = f'<html><meta charset="big5"><p>{SIMPLIFIED}</p></html>'
    assert decode(page.encode()) == (page, None)


def test_a_few_broken_bytes_do_not_hide_utf_8() -> None:
    text, note = decode((SIMPLIFIED * 40).encode() + b"\xff" + SIMPLIFIED.encode())
    assert text == SIMPLIFIED * 40 + "\ufffd" + SIMPLIFIED
    assert str(note) == "1 broken characters"


@pytest.mark.parametrize("content", [bytes(range(256)) * 40, codecs.BOM_UTF16_LE + bytes(range(200, 256)) * 99])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(DocumentError, match=r"not text in any encoding|characters are broken"):
        decode(content)
