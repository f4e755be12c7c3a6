"""From files of every kind to a token data set; what is bad is told with file and line."""

import contextlib
import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config.prepare_config import PrepareConfig
from core.data.dedup import find_duplicates
from core.data.formats import UnrecognisedError, recognise
from core.data.mmap_file import MmapFileHandler
from core.data.prepare import PrepareReport, prepare
from core.data.readers import read_file
from core.data.streams import input_files
from core.data.tokenizer import Tokenizer
from core.errors import DataError
from tests.conftest import SHARED_DATA
from tests.core.conftest import sentences

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
    pq.write_table(pa.Table.from_pylist(rows), out)
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
    assert "list, not an object" in told["a.jsonl", 10]
    assert told["empty.txt", 0] == "the file is empty"
    assert told["picture.txt", 0] == "a binary file"
    assert told["song.mp3", 0] == "not a kind of file that is read"
    assert handler.num_documents("train") == len(ROWS) - 3


def test_an_array_that_breaks_off_keeps_the_rows_before(run: Prepare, tmp_path: Path) -> None:
    text = json.dumps(ROWS)
    (tmp_path / "a.json").write_text(text[: len(text) // 2])
    report, handler = run(tmp_path / "a.json", validation_ratio=0.0)
    assert 10 < handler.num_documents("train") < len(ROWS)
    assert "broken JSON at line 1, after record" in report.problems[0][2]


def test_a_line_of_five_million_characters_is_one_document(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the quick fox " * 360_000)
    _, handler = run(tmp_path / "a.txt", validation_ratio=0.0)
    assert handler.num_documents("train") == 1
    assert handler.num_bytes("train") >= 5_000_000


def test_equal_and_similar_documents_are_dropped_and_reported(run: Prepare, tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(300))
    near = long.replace("word150", "other")
    rows = [*ROWS, ROWS[2], {"text": ROWS[4]["text"].upper()}, {"text": long}, {"text": near}]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    report, handler = run(tmp_path / "a.jsonl", validation_ratio=0.0)
    assert (report.num_exact_duplicates, report.num_near_duplicates) == (2, 1)
    assert handler.num_documents("train") == len(ROWS) + 1
    assert report.duplicate_examples == [("a.jsonl, line 34", "a.jsonl, line 33")]


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


def test_pairs_of_one_prompt_stay_on_one_side(run: Prepare, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Short prompts whose answers have nothing in common, as a ranking makes them, in an order that mixes them."""
    words = iter(sentences(120, seed=6))
    rows = [
        {"prompt": f"Question {prompt}?", "chosen": next(words), "rejected": next(words)}
        for _ in range(6)
        for prompt in range(10)
    ]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    report, handler = run(tmp_path / "a.jsonl", validation_ratio=0.3, near_duplicate_threshold=1.0)
    prompts = {
        split: {
            tokenizer.decode(handler.tokens(split, document)).partition("?")[0][-1]
            for document in range(handler.num_documents(split))
        }
        for split in ("train", "validation")
    }
    assert report.num_validation in (12, 18)
    assert len(prompts["validation"]) in (2, 3)
    assert not prompts["train"] & prompts["validation"]


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
    (tmp_path / "a.txt").write_bytes(bytes(range(32)) * 9)
    (tmp_path / "b.jsonl").write_text('{"other": 1}\n')
    with pytest.raises(DataError, match=r"in 2 files\. a\.txt: a binary file; b\.jsonl, line 1: no known fields"):
        run(tmp_path)
    with pytest.raises(DataError, match=r"missing does not exist\. Check the path"):
        run(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"There is no file in .*empty\. Give txt"):
        run(tmp_path / "empty")


def test_an_existing_output_is_left_alone(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    run(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="exists already"):
        run(tmp_path / "a.jsonl")


def test_an_empty_folder_may_be_the_output(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    (tmp_path / "out").mkdir()
    _, handler = run(tmp_path / "a.jsonl", validation_ratio=0.0)
    assert handler.num_documents("train") == len(ROWS)


def test_an_output_that_cannot_be_written_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    with pytest.raises(DataError, match=r"a\.jsonl/out cannot be written"):
        prepare([tmp_path / "a.jsonl"], tmp_path / "a.jsonl" / "out", tokenizer, PrepareConfig(workers=1))


def test_a_file_that_changes_while_it_is_read_is_an_error(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(ROWS))

    def cut_between_the_passes(*args: Any, **options: Any) -> Any:
        path.write_bytes(jsonl(ROWS[:-2]))
        return find_duplicates(*args, **options)

    monkeypatch.setattr("core.data.prepare.find_duplicates", cut_between_the_passes)
    with pytest.raises(DataError, match=r"a\.jsonl changed while it was read"):
        prepare([path], tmp_path / "out", tokenizer, PrepareConfig(workers=1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_progress_counts_the_bytes_of_both_passes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl(ROWS)))
    told: list[tuple[str, int, int]] = []
    config = PrepareConfig(workers=1)
    prepare([path], tmp_path / "out", tokenizer, config, progress=lambda *step: told.append(step))
    size = path.stat().st_size
    last = {phase: (done, total) for phase, done, total in told}
    assert last == {"reading": (size, size), "tokenising": (size, size)}


JUDGEMENTS = ("pandalm", "llmbar", "alpacaeval2", "moss", "seed_tasks")  # of answers, not pairs of them


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretrain", "sft", "preference"])
def test_every_real_file_gives_documents(kind: str) -> None:
    for path in input_files([SHARED_DATA / kind]):
        found = 0
        for record in islice(read_file(path, lambda *_: None, lambda _: None), 200):
            with contextlib.suppress(UnrecognisedError):
                found += recognise(record.value).kind != ""
        assert found or any(name in path.name for name in JUDGEMENTS), path


@pytest.mark.shared
def test_articles_of_two_years_stay_on_one_side(run: Prepare, tokenizer: Tokenizer) -> None:
    """The same encyclopaedia articles at two dates share much of their text and hardly a line."""
    paths = [
        SHARED_DATA / "pretrain/en" / name for name in ("wikipedia-en-2016-00.txt", "wikipedia-en-2020-00.jsonl.gz")
    ]
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
