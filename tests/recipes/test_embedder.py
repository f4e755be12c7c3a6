"""The embedder's recipe: what it reads, its lexicon and loss by hand, and a whole run on a small corpus."""

import gzip
import io
import json
import math
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.question_sets import SETS, exact_ranks
from rag.embedding import load_embedder
from recipes.embedder import __main__ as recipe
from recipes.embedder import collect, sources
from recipes.embedder.batches import Sampler, Sampling, encode, paragraphs
from recipes.embedder.lexicon import lexicon
from recipes.embedder.sources import SOURCES, Source
from recipes.embedder.train import Schedule, Table, info_nce, start_table, train
from recipes.embedder.train_tokenizer import train as train_tokenizer
from recipes.embedder.write import quantise, write
from tests.conftest import SHARED_DATA

TOPICS = {
    "river": ("water flows down the river to the sea", "河水 流 向 大海 河流"),
    "market": ("people buy fruit and bread at the market", "人们 在 市场 买 水果 面包"),
    "school": ("children read books with a teacher at school", "孩子 在 学校 跟 老师 读书"),
}


def small_articles() -> list[collect.Article]:
    generator = np.random.default_rng(0)
    found = []
    for number in range(40):
        for title, (english, chinese) in TOPICS.items():
            for language, words in (("en", english.split()), ("zh", chinese.split())):
                glue = " " if language == "en" else ""
                parts = [[glue.join(generator.permutation(words)) for _ in range(3)] for _ in range(2)]
                found.append(collect.Article(language, f"{title} {number}", parts))
    return found


def ids(*rows: list[int]) -> list[np.ndarray]:
    return [np.array(row, np.int32) for row in rows]


def test_the_lexicon_finds_who_translates_whom() -> None:
    english, chinese = ids([1, 2], [1, 3], [2, 3], [1]), ids([11, 12], [11, 13], [12, 13], [11])
    found = lexicon(list(zip(english, chinese, strict=True)), 20)
    assert {token: Counter(row.tolist()).most_common(1)[0][0] for token, row in found.items()} == {
        **dict(zip((1, 2, 3), (11, 12, 13), strict=True)),
        **dict(zip((11, 12, 13), (1, 2, 3), strict=True)),
    }


def test_info_nce_by_hand() -> None:
    left, right = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    one_way = (math.log(1 + math.exp(-0.4 / 0.5)) + math.log(1 + math.exp(-0.8 / 0.5))) / 2
    other_way = (math.log(1 + math.exp(-1 / 0.5)) + math.log(1 + math.exp(-0.2 / 0.5))) / 2
    assert info_nce(left, right, 0.5).item() == pytest.approx((one_way + other_way) / 2, abs=1e-6)


def test_a_rank_counts_the_passages_at_least_as_near() -> None:
    queries, passages = np.eye(2, dtype=np.float32), np.array([[0.5, 1], [0.5, 0], [0.9, 0.2]], np.float32)
    np.testing.assert_array_equal(exact_ranks(queries, passages, [0, 0]), [3, 1])


def test_int8_rows_are_within_half_a_step() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1).mean()
    quantised, scales = quantise(rows)
    error = np.abs(quantised * scales.astype(np.float32)[:, None] - rows)
    assert (error <= 0.51 * scales.astype(np.float32)[:, None] + 1e-6).all()


def test_a_document_that_quotes_the_evaluation_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = (
        "The Normans were the people who in the tenth and eleventh centuries gave their name to a region in France. "
    )
    other = "The market opens at eight in the morning, and the bread is sold out before nine on most days of the week. "
    qa = {"data": [{"paragraphs": [{"context": secret * 2, "qas": []}]}]}
    (tmp_path / "xquad.en.json").write_text(json.dumps(qa), encoding="utf-8")
    documents = [f"Normandy\n{other * 3}{secret.upper()}", f"Market\n{other * 3}"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in documents)
    (tmp_path / "texts.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    source = Source(path="texts.jsonl.gz", language="en", licence="ours")
    monkeypatch.setattr(collect, "ARTICLES", (source,))
    report: Counter[str] = Counter()
    found = list(collect.articles(tmp_path, collect.heldout_shingles(tmp_path), report))
    assert [article.title for article in found] == ["market"]
    assert report["texts.jsonl.gz"] == report[collect.LEFT_OUT] == 1


def test_a_whole_small_run_finds_across_the_languages(tmp_path: Path) -> None:
    articles, generator = small_articles(), np.random.default_rng(0)
    by_language = {
        language: [
            " ".join(part) for article in articles if article.language == language for part in article.paragraphs
        ]
        for language in ("en", "zh")
    }
    tokenizer = train_tokenizer(by_language, {"en": 80, "zh": 80})
    sides = [encode(tokenizer, [pair[side] for pair in TOPICS.values()]) for side in (0, 1)]
    pairs = list(zip(*sides, strict=True)) * 10
    words = lexicon(pairs, tokenizer.get_vocab_size())
    counts = np.ones(tokenizer.get_vocab_size(), np.int64)
    table = Table(start_table(counts, None, words, 32, generator))
    sampler = Sampler(paragraphs(tokenizer, articles), tokenizer, words, sampling=Sampling(), generator=generator)
    schedule = Schedule(minutes=0.02, batch=24, parallel_batch=3, question_batch=3)
    assert train(table, sampler, (pairs, pairs), schedule, generator, print) > 0
    write(tmp_path, table.rows(), tokenizer)
    embedder = load_embedder(tmp_path)
    english, chinese = (embedder.encode_passages([pair[side] for pair in TOPICS.values()]) for side in (0, 1))
    np.testing.assert_array_equal((english @ chinese.T).argmax(axis=1), [0, 1, 2])


def write_data(folder: Path) -> None:
    """Every source of the recipe and every question set, a few lines each."""
    articles = {"en": [], "zh": []}
    for article in small_articles():
        text = "\n".join(["".join(f"{sentence}. " for sentence in part * 4) for part in article.paragraphs])
        articles[article.language].append(f"{article.title}\n{text}")
    articles["zh"].append("新闻\n有线电视（Cable News）在市场卖面包。" + articles["zh"][0])
    for source in sources.ARTICLES:
        texts = articles[source.language]
        if source.path.endswith(".tar.gz"):
            path = folder / source.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(path, "w:gz") as archive:
                member = tarfile.TarInfo("page.md")
                member.size = len(texts[0].encode())
                archive.addfile(member, io.BytesIO(texts[0].encode()))
        else:
            write_rows(folder / source.path, [{"text": text} for text in texts])
    pairs = [(english, chinese.replace(" ", "")) for english, chinese in TOPICS.values()]
    for source in sources.PARALLEL:
        write_rows(folder / source.path, [{"en": english, "zh": chinese} for english, chinese in pairs])
    for source in sources.QUESTIONS:
        write_rows(folder / source.path, [{"instruction": one, "input": "", "output": other} for one, other in pairs])
    for number, file in enumerate(SETS.values()):
        paragraphs = [
            {"context": f"{chr(0x4E00 + number)} {one} {two}", "qas": [{"question": one, "answers": [{"text": "x"}]}]}
            for one, two in pairs
        ]
        raw = json.dumps({"data": [{"paragraphs": [each]} for each in paragraphs]}).encode()
        path = folder / "rag" / "qa" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_lines = ".jsonl" in path.name
    raw = ("\n".join(map(json.dumps, rows)) if is_lines else json.dumps(rows)).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.slow
def test_one_command_makes_weights_and_card_and_keeps_what_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "data")
    places = [f"--{name}={tmp_path / name}" for name in ("data", "output", "cache")]
    recipe.main([*places, "--minutes=0.01", "--dim=16"])
    first = capsys.readouterr().out
    assert [stage for stage in ("corpus", "tokenizer", "table") if f"{stage}: made" in first] == [
        "corpus", "tokenizer", "table"
    ]  # fmt: skip
    text = (tmp_path / "output" / "README.md").read_text(encoding="utf-8")
    assert "| squad2 | " in text
    assert "| zh question, en passage | " in text
    weights = (tmp_path / "output" / "embedding.safetensors").read_bytes()
    recipe.main([*places, "--minutes=0.01", "--dim=16"])
    assert capsys.readouterr().out.count("kept from an earlier run") == 3
    assert (tmp_path / "output" / "embedding.safetensors").read_bytes() == weights
    recipe.main([*places, "--minutes=0.02", "--dim=16"])
    assert capsys.readouterr().out.count("kept from an earlier run") == 2
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert load_embedder(tmp_path / "output").dim == 16


@pytest.mark.shared
def test_every_source_is_a_row_whose_licence_lets_a_product_ship() -> None:
    rows = {}
    for line in (SHARED_DATA / "MANIFEST.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        rows[cells[0]] = line
    for source in SOURCES:
        assert not source.path.startswith(("eval/", "rag/"))
        assert not any(
            word in rows[source.path] for word in ("NON-COMMERCIAL", "test use only", "check before shipping")
        )
