"""From files of every kind to a token data set; what is bad is told with file and line."""

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from core.config.prepare_config import PrepareConfig
from core.data.formats import Chat, Preference, Text, Unrecognised, recognise
from core.data.mmap_file import MmapFileHandler
from core.data.prepare import PrepareReport, prepare
from core.data.tokenizer import Tokenizer
from core.errors import DataError
from tests.core.conftest import sentences

SHARED = Path(__file__).parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the development data is not beside the repository")
Prepare = Callable[..., tuple[PrepareReport, MmapFileHandler]]
ROWS = [{"text": f"{text} 第{number}行。"} for number, text in enumerate(sentences(30, seed=4))]
CHAT = [{"instruction": f"Say {text}", "input": "", "output": text} for text in sentences(20, seed=5)]


@pytest.fixture
def run(tokenizer: Tokenizer, tmp_path: Path) -> Prepare:
    def run(*paths: Path, **options: object) -> tuple[PrepareReport, MmapFileHandler]:
        config = PrepareConfig.from_dict({"workers": 1, "validation_ratio": 0.1, **options})
        report = prepare(list(paths), tmp_path / "out", tokenizer, config)
        return report, MmapFileHandler(tmp_path / "out", verify=True)

    return run


def jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def as_tar(rows: list[dict[str, str]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for number, row in enumerate(rows):
            entry = tarfile.TarInfo(f"../up/{number}.md")
            content = row["text"].encode()
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def as_zip(rows: list[dict[str, str]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, row in enumerate(rows):
            archive.writestr(f"{number}.txt", row["text"])
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", jsonl(ROWS)),
        ("a.jsonl.gz", gzip.compress(jsonl(ROWS))),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS, indent=1).encode())),
        ("a.csv", as_csv(ROWS)),
        ("a.parquet", as_parquet(ROWS)),
        ("a.tar.gz", as_tar(ROWS)),
        ("a.zip", as_zip(ROWS)),
    ],
)
def test_every_kind_of_file_gives_the_same_documents(
    run: Prepare, tokenizer: Tokenizer, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    report, handler = run(path, validation_ratio=0.0)
    assert (report.kind, report.num_problems) == ("pt", 0)
    texts = [tokenizer.decode(handler.tokens("train", i)) for i in range(handler.num_documents("train"))]
    assert texts == [row["text"] for row in ROWS]
    assert handler.num_bytes("train") == sum(len(row["text"].encode()) for row in ROWS)
    assert not (tmp_path / "up").exists()


def test_several_processes_give_the_same_shards_as_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"text": text} for text in sentences(500, seed=6)]))
    manifests = []
    for workers in (1, 2):
        output = tmp_path / f"out{workers}"
        prepare([tmp_path / "a.jsonl"], output, tokenizer, PrepareConfig(workers=workers))
        manifests.append(json.loads((output / "dataset.json").read_text())["splits"])
    assert manifests[0] == manifests[1]


def test_conversations_carry_their_mask(run: Prepare, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(CHAT))
    report, handler = run(tmp_path / "a.json", validation_ratio=0.0)
    assert report.kind == "sft"
    mask = handler.loss_mask("train", 0)
    assert mask is not None
    learnt = handler.tokens("train", 0)[mask.astype(bool)]
    assert tokenizer.decode(learnt) == CHAT[0]["output"]


def test_pairs_are_two_documents_that_differ_in_the_answer(run: Prepare, tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [{"prompt": f"ask {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(12)]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    report, handler = run(tmp_path / "a.jsonl", validation_ratio=0.0, near_duplicate_threshold=1.0)
    assert report.kind == "preference"
    answers = []
    for document in (0, 1):
        mask = handler.loss_mask("train", document)
        assert mask is not None
        answers.append(tokenizer.decode(handler.tokens("train", document)[mask.astype(bool)]))
    assert answers == ["good 0", "bad 0"]


def test_bad_rows_are_told_with_file_and_line_and_the_rest_is_kept(run: Prepare, tmp_path: Path) -> None:
    lines = jsonl(ROWS).splitlines(keepends=True)
    lines[3] = b'{"text": "cut\n'
    lines[7] = b'{"other": 1}\n'
    lines[9] = b"[1, 2]\n"
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "empty.txt").write_bytes(b" \n")
    (tmp_path / "picture.txt").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "song.mp3").write_bytes(b"x")
    report, handler = run(tmp_path, validation_ratio=0.0)
    told = {(file, line): what for file, line, what in report.problems}
    assert "broken JSON" in told["a.jsonl", 4]
    assert "no known fields" in told["a.jsonl", 8]
    assert "list is no record" in told["a.jsonl", 10]
    assert told["empty.txt", 0] == "the file is empty"
    assert told["picture.txt", 0] == "a binary file"
    assert told["song.mp3", 0] == "not a kind of file that is read"
    assert handler.num_documents("train") == len(ROWS) - 3


def test_an_array_that_breaks_off_keeps_the_rows_before(run: Prepare, tmp_path: Path) -> None:
    text = json.dumps(ROWS)
    (tmp_path / "a.json").write_text(text[: len(text) // 2])
    report, handler = run(tmp_path / "a.json", validation_ratio=0.0)
    assert 10 < handler.num_documents("train") < len(ROWS)
    assert "broken JSON after record" in report.problems[0][2]


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16", "utf-8-sig"])
def test_chinese_encodings_are_recognised(run: Prepare, tokenizer: Tokenizer, tmp_path: Path, encoding: str) -> None:
    text = "今天天氣很好，我們一起去公園散步，看見許多紅色的花和綠色的樹。" * 8
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    _, handler = run(tmp_path / "a.txt", validation_ratio=0.0)
    assert tokenizer.decode(handler.tokens("train", 0)) == text


def test_a_line_of_five_million_characters_is_one_document(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the quick fox " * 360_000)
    report, handler = run(tmp_path / "a.txt", validation_ratio=0.0)
    assert handler.num_documents("train") == 1
    assert handler.num_bytes("train") >= 5_000_000


def test_a_decompression_bomb_is_stopped(run: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.readers.MAX_FREE_UNPACKED_BYTES", 1 << 20)
    (tmp_path / "bomb.txt.gz").write_bytes(gzip.compress(b"0" * (1 << 25)))
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    report, _ = run(tmp_path)
    assert any("unpacks to more than" in what for _, _, what in report.problems)


def test_equal_and_similar_documents_are_dropped_and_reported(run: Prepare, tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(300))
    near = long.replace("word150", "other")
    rows = [*ROWS, ROWS[2], {"text": ROWS[4]["text"].upper()}, {"text": long}, {"text": near}]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    report, handler = run(tmp_path / "a.jsonl", validation_ratio=0.0)
    assert (report.num_exact_duplicates, report.num_near_duplicates) == (2, 1)
    assert handler.num_documents("train") == len(ROWS) + 1
    assert report.duplicate_examples == [("a.jsonl:34", "a.jsonl:33")]


def test_repeats_stay_where_they_are_meant(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([*ROWS, *ROWS]))
    _, handler = run(tmp_path / "a.jsonl", validation_ratio=0.0, drop_duplicates=False)
    assert handler.num_documents("train") == 2 * len(ROWS)


def test_validation_takes_whole_groups_of_similar_documents(run: Prepare, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Twelve groups whose members share half of their text, none of it with another group."""
    rows = []
    for group in range(12):
        shared = " ".join(f"g{group}w{i}" for i in range(200))
        rows += [{"text": f"{shared} " + " ".join(f"g{group}m{member}x{i}" for i in range(60))} for member in range(4)]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    _, handler = run(tmp_path / "a.jsonl", validation_ratio=0.3)
    groups: dict[str, set[str]] = {"train": set(), "validation": set()}
    for split, found in groups.items():
        for document in range(handler.num_documents(split)):
            found.add(tokenizer.decode(handler.tokens(split, document)).split("w")[0])
    assert groups["validation"]
    assert not groups["train"] & groups["validation"]


def test_the_split_depends_on_content_and_seed_alone(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [{"text": text} for text in sentences(200, seed=8)]
    chosen = []
    for name, order, seed in (("a", rows, 1), ("b", rows[::-1], 1), ("c", rows, 2)):
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl(order))
        config = PrepareConfig(workers=1, validation_ratio=0.1, seed=seed)
        prepare([tmp_path / f"{name}.jsonl"], tmp_path / name, tokenizer, config)
        handler = MmapFileHandler(tmp_path / name)
        count = handler.num_documents("validation")
        chosen.append({tokenizer.decode(handler.tokens("validation", i)) for i in range(count)})
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_nothing_usable_is_an_error_that_names_what_was_found(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x00\x01")
    with pytest.raises(DataError, match="Nothing usable was found in 1 files"):
        run(tmp_path / "a.txt")
    with pytest.raises(DataError, match="There is no .*missing"):
        run(tmp_path / "missing")


def test_an_existing_output_is_left_alone(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    run(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="exists already"):
        run(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("words", Text("words")),
        ({"title": "T", "text": "body"}, Text("T\n\nbody")),
        ({"en": "a", "zh": "甲"}, Text("a\n甲")),
        ({"question": "q", "answer": "a"}, Chat([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "x"}]},
            Chat([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]),
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "value": "q"}]}, {"role": "assistant", "content": "a"}]},
            Chat([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]),
        ),
        (
            {"system": "s", "history": [["x", "y"]], "question": "q", "response_chosen": "c", "response_rejected": "r"},
            Preference(
                [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "content": "y"},
                    {"role": "user", "content": "q"},
                ],
                "c",
                "r",
            ),
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "c"}, "rejected": {"from": "gpt", "value": "r"}},
            Preference([{"role": "user", "content": "q"}], "c", "r"),
        ),
    ],
)  # fmt: skip
def test_records_are_recognised_by_their_fields(value: str | dict[str, object], expected: object) -> None:
    assert recognise(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "are equal"),
        ({"instruction": "q", "output": " "}, "answer is empty"),
        ({"messages": [{"role": "user", "content": "q"}]}, "nobody answers"),
        ({"messages": [{"role": "alien", "content": "q"}]}, "role 'alien'"),
        ({"text": " "}, "no known fields"),
    ],
)
def test_records_that_are_no_example_say_why(value: dict[str, object], message: str) -> None:
    with pytest.raises(Unrecognised, match=message):
        recognise(value)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretrain", "sft", "preference"])
def test_every_real_file_gives_documents(tokenizer: Tokenizer, tmp_path: Path, kind: str) -> None:
    from core.data.readers import input_files, read_file

    judgements = ("pandalm", "llmbar", "alpacaeval2", "kto", "moss", "seed_tasks")
    for path in input_files([SHARED / kind]):
        found = 0
        for number, record in enumerate(read_file(path, lambda *_: None, lambda _: None)):
            try:
                found += bool(recognise(record.value))
            except Unrecognised:
                continue
            if number > 200:
                break
        assert found or any(name in path.name for name in judgements), path


@needs_shared
def test_articles_of_two_years_stay_on_one_side(run: Prepare, tokenizer: Tokenizer) -> None:
    """The same encyclopaedia articles at two dates share much of their text and hardly a line."""
    paths = [SHARED / "pretrain/en" / name for name in ("wikipedia-en-2016-00.txt", "wikipedia-en-2020-00.jsonl.gz")]
    _, handler = run(*paths, validation_ratio=0.25, near_duplicate_threshold=1.0)

    def shingles(split: str) -> set[int]:
        found: set[int] = set()
        for document in range(handler.num_documents(split)):
            words = tokenizer.decode(handler.tokens(split, document)).split()
            found |= {hash(tuple(words[i : i + 13])) for i in range(len(words) - 12)}
        return found

    train, validation = shingles("train"), shingles("validation")
    assert len(validation) > 1000
    assert len(train & validation) < 0.02 * len(validation)
    assert np.array(handler.lengths("validation")).sum() > 0
