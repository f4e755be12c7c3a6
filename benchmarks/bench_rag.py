"""Search in the library: recall on question sets and on your own files, refusals, citations, speed and memory.

The question sets are SQuAD 2.0, XQuAD and CMRC 2018, each with all its passages as corpus. The program's weights were
fitted on the articles of even number, so that questions on the others are reported; with `--tune` weights are fitted on
each half and reported on the other. Intervals are of a paired bootstrap over questions.
"""

import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.paths import ROOT

if TYPE_CHECKING:
    from benchmarks.question_sets import QuestionSet, Ranks
    from benchmarks.rag_sets import Corpus, Signs
    from rag.embedding import Embedder
    from rag.fusion import Fusion

    Halves = tuple[Fusion, Fusion]  # for questions on articles of even number, and of odd number

QUESTION_SETS = ROOT.parent / "shared" / "data" / "rag" / "qa"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--sets", type=Path, default=QUESTION_SETS, help="folder of the question sets")
    parser.add_argument("--embedder", help="folder or hub name (default: the one that comes with the program)")
    parser.add_argument("--peer", help="folder or hub name of another embedder, for a row beside ours")
    parser.add_argument("--tune", action="store_true", help="fit the weights on each half, report on the other")
    parser.add_argument("--scale", type=int, metavar="CHUNKS", help="measure speed and memory with so many passages")
    parser.add_argument("--many-files", type=int, metavar="FILES", help="index so many files while they are searched")
    parser.add_argument("--files", type=Path, nargs="+", help="measure the search in your own files and folders")


def run(arguments: Namespace) -> dict[str, Any]:
    from rag.embedding import load_embedder

    embedder = load_embedder(arguments.embedder)
    if arguments.files:
        from benchmarks.rag_files import measure_files

        return {"embedder": embedder.id} | measure_files(arguments.files, embedder)
    if arguments.scale:
        from benchmarks.rag_scale import measure_scale

        return {"embedder": embedder.id} | measure_scale(arguments.sets, arguments.scale, embedder)
    if arguments.many_files:
        from benchmarks.rag_many_files import measure_many_files

        return {"embedder": embedder.id} | measure_many_files(arguments.sets, arguments.many_files, embedder)
    peer = load_embedder(arguments.peer) if arguments.peer else None
    with tempfile.TemporaryDirectory() as folder:
        return {"embedder": embedder.id} | _quality(arguments, Path(folder), embedder, peer)


def _quality(arguments: Namespace, folder: Path, embedder: "Embedder", peer: "Embedder | None") -> dict[str, Any]:
    from benchmarks.question_sets import CHINESE, SETS, read_set
    from benchmarks.question_sets import figures as measures
    from benchmarks.rag_answers import measure_citations, measure_refusals
    from benchmarks.rag_sets import Corpus

    sets = {name: read_set(arguments.sets / file) for name, file in SETS.items()}
    corpora = {name: Corpus(folder / name, embedder, found.passages) for name, found in sets.items()}
    signs = {name: corpus.signs(sets[name].answerable()) for name, corpus in corpora.items()}
    fusions = _fusions(sets, signs, tune=arguments.tune)
    figures: dict[str, Any] = {}
    reported: dict[str, dict[str, Ranks]] = {}
    for name, found in sets.items():
        reported[name] = _legs(name, found, signs[name], fusions[name], peer)
        figures |= {name: {leg: measures(ranks) for leg, ranks in reported[name].items()}}
        figures |= _gains(name, [reported[name]])
    for language, is_chinese in (("English", False), ("Chinese", True)):
        figures |= _gains(language, [ranks for name, ranks in reported.items() if (name in CHINESE) == is_chinese])
    figures |= _across(sets, corpora, fusions)
    figures |= _traditional(sets, corpora, fusions)
    figures |= measure_refusals(folder, sets, embedder, tune=arguments.tune)
    figures |= measure_citations(sets, corpora)
    for corpus in corpora.values():
        corpus.close()
    return figures


def _fusions(sets: "dict[str, QuestionSet]", signs: "dict[str, Signs]", *, tune: bool) -> "dict[str, Halves]":
    """The weights for each set's questions on even and on odd articles: the program's, or those that fit the others."""
    from benchmarks.question_sets import CHINESE
    from benchmarks.rag_sets import tuned
    from rag.fusion import HAN, LATIN

    if not tune:
        return {name: (HAN, HAN) if name in CHINESE else (LATIN, LATIN) for name in sets}
    fitted = {}
    for is_chinese in (False, True):
        parts = [(signs[name], sets[name].answerable()) for name in sets if (name in CHINESE) == is_chinese]
        fitted[is_chinese] = tuned(parts, half=1), tuned(parts, half=0)
        print(f"{'HAN' if is_chinese else 'LATIN'} = {fitted[is_chinese][1]}")
    print()
    return {name: fitted[name in CHINESE] for name in sets}


def _legs(
    name: str, found: "QuestionSet", signs: "Signs", fusions: "Halves", peer: "Embedder | None"
) -> "dict[str, Ranks]":
    """Print the table of one question set; the ranks by each leg, both, and the bound, where no weights were fitted."""
    import numpy as np

    from benchmarks.question_sets import exact_ranks, figures
    from benchmarks.rag_sets import table

    questions = found.answerable()
    is_odd = np.array([question.reports for question in questions])
    reports = is_odd | (fusions[0] != fusions[1])
    ranks: dict[str, Ranks] = {
        "BM25": signs.keyword_ranks,
        "dense": signs.dense_ranks,
        "hybrid": np.where(is_odd, signs.ranks(fusions[1]), signs.ranks(fusions[0])),
        "either leg first": np.minimum(signs.keyword_ranks, signs.dense_ranks),
    }
    if peer is not None:
        queries = peer.encode_queries([question.text for question in questions])
        gold = [question.gold for question in questions]
        ranks["dense, peer"] = exact_ranks(queries, peer.encode_passages(found.passages), gold)
    reported = {leg: places[reports] for leg, places in ranks.items()}
    rows: list[tuple[str, ...]] = [(name, "R@1", "R@5", "R@10", "MRR", f"{int(reports.sum())} questions")]
    rows += [(leg, *map(str, figures(reported[leg]).values()), _spread(ranks[leg])) for leg in ranks]
    print(table(rows))
    return reported


def _gains(label: str, sets: "list[dict[str, Ranks]]") -> dict[str, Any]:
    """What both legs together gain over each, on all questions of some sets."""
    import numpy as np

    from benchmarks.question_sets import reciprocal
    from benchmarks.rag_sets import gain

    found = {}
    for leg in ("BM25", "dense", *({"dense, peer"} & sets[0].keys())):
        both = [np.concatenate([ranks[way] for ranks in sets]) for way in ("hybrid", leg)]
        first = gain(*((places <= 1).astype(float) for places in both))
        mrr = gain(*map(reciprocal, both))
        found[leg] = {"R@1": first, "MRR": mrr}
        print(f"{label}: hybrid - {leg}: R@1 {_interval(first)}, MRR {_interval(mrr)}")
    print()
    return {f"{label}, gains of hybrid with 95 %": found}


def _spread(ranks: "Ranks") -> str:
    """The figures of all questions, tuning ones too: those that other systems are compared with."""
    from benchmarks.question_sets import figures

    return "all: " + " ".join(f"{value:.3f}" for value in figures(ranks).values())


def _interval(gain: tuple[float, float, float]) -> str:
    return f"{gain[0]:+.4f} [{gain[1]:+.4f}, {gain[2]:+.4f}]"


def _across(
    sets: "dict[str, QuestionSet]", corpora: "dict[str, Corpus]", fusions: "dict[str, Halves]"
) -> dict[str, Any]:
    """Questions in one language against passages in the other: the XQuAD files are parallel."""
    from benchmarks.question_sets import figures
    from benchmarks.rag_sets import table

    rows: list[tuple[Any, ...]] = [("across languages", "leg", "R@1", "R@5", "R@10", "MRR")]
    found = {}
    for asked, searched in (("xquad.zh", "xquad.en"), ("xquad.en", "xquad.zh")):
        signs = corpora[searched].signs(sets[asked].answerable())
        label = f"{asked} questions, {searched} passages"
        legs = {"BM25": signs.keyword_ranks, "dense": signs.dense_ranks, "hybrid": signs.ranks(fusions[asked][1])}
        found[label] = {leg: figures(ranks) for leg, ranks in legs.items()}
        rows += [(label, leg, *values.values()) for leg, values in found[label].items()]
    print(table(rows), "\n")
    return found


def _traditional(
    sets: "dict[str, QuestionSet]", corpora: "dict[str, Corpus]", fusions: "dict[str, Halves]"
) -> dict[str, Any]:
    """The Chinese questions in Traditional characters against the passages in Simplified ones."""
    from dataclasses import replace

    from opencc import OpenCC

    from benchmarks.question_sets import CHINESE, figures
    from benchmarks.rag_sets import table

    rows: list[tuple[Any, ...]] = [("Traditional questions", "R@1", "R@5", "R@10", "MRR")]
    convert = OpenCC("s2t").convert
    found = {}
    for name in CHINESE:
        questions = [replace(question, text=convert(question.text)) for question in sets[name].answerable()]
        found[f"{name} in Traditional"] = figures(corpora[name].signs(questions).ranks(fusions[name][1]))
        rows.append((name, *found[f"{name} in Traditional"].values()))
    print(table(rows), "\n")
    return found
