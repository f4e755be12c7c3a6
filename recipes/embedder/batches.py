"""Training pairs as token ids: a question made of a sentence's words against the paragraph that holds it.

Real questions repeat some words of the sentence that answers them, leave most out and add question words. So a
query here is a random part of one sentence, sometimes with the title and question words, and sometimes with its
words replaced by translations; the passage is the sentence's paragraph, sometimes without that sentence. A batch
takes several paragraphs of each article: the others are the hard negatives.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rag.text import fold
from recipes.embedder.collect import Article

Ids = NDArray[np.int32]
MAX_PARAGRAPHS = 6  # of an article, from its beginning, which is the plainest part
ASKED = {
    "en": "what is the|who was|when did|how many|which|where is|in what year did|why does|what was the name of|how do"
    "|what type of|who is the|what did|what are|how long|to whom|how much|what year",
    "zh": "什么是|是谁|什么时候|多少|哪一个|在哪里|哪一年|为什么|叫什么名字|怎么|什么类型的|谁|有哪些|多久|如何|哪些"
    "|何时|是什么|请问|多大",
}


@dataclass(frozen=True, slots=True)
class Paragraph:
    language: str
    article: int
    title: Ids
    sentences: list[Ids]


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[Ids]:
    """Ids of folded texts, the unknown token left out."""
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array([token for token in encoding.ids if token], np.int32) for encoding in encodings]


def paragraphs(tokenizer: Tokenizer, articles: list[Article]) -> list[Paragraph]:
    """The first MAX_PARAGRAPHS of each article, in order."""
    taken = [article.paragraphs[:MAX_PARAGRAPHS] for article in articles]
    titles = encode(tokenizer, [article.title for article in articles])
    found = []
    for number, (article, title, beginning) in enumerate(zip(articles, titles, taken, strict=True)):
        sentences = encode(tokenizer, [sentence for part in beginning for sentence in part])
        start = 0
        for part in beginning:
            found.append(Paragraph(article.language, number, title, sentences[start : start + len(part)]))
            start += len(part)
    return found


@dataclass(frozen=True, slots=True)
class Sampling:
    """How queries and passages are drawn; lengths in tokens."""

    per_article: int = 4
    max_passage: int = 96
    max_query: int = 24
    keep: tuple[float, float] = (0.25, 0.9)
    with_title: float = 0.2
    with_asked: float = 0.6
    without_sentence: float = 0.15
    translated: float = 0.35


class Sampler:
    """Draws batches of (query, passage) from paragraphs."""

    def __init__(
        self,
        parts: list[Paragraph],
        tokenizer: Tokenizer,
        lexicon: dict[int, Ids],
        *,
        sampling: Sampling,
        generator: Generator,
    ) -> None:
        self._parts, self._lexicon, self._options, self._draw = parts, lexicon, sampling, generator
        self._asked = {
            language: encode(tokenizer, [fold(text) for text in asked.split("|")]) for language, asked in ASKED.items()
        }
        starts = [0, *(i for i in range(1, len(parts)) if parts[i].article != parts[i - 1].article), len(parts)]
        self._articles = np.stack([starts[:-1], starts[1:]], axis=1)

    def batch(self, size: int) -> tuple[list[Ids], list[Ids]]:
        """`size` pairs, up to `per_article` of one article."""
        chosen: list[int] = []
        while len(chosen) < size:
            first, last = self._articles[self._draw.integers(len(self._articles))]
            count = min(self._options.per_article, last - first)
            chosen += (first + self._draw.permutation(last - first)[:count]).tolist()
        pairs = [self._pair(self._parts[index]) for index in chosen[:size]]
        return [query for query, _ in pairs], [passage for _, passage in pairs]

    def _pair(self, part: Paragraph) -> tuple[Ids, Ids]:
        options, draw = self._options, self._draw
        chance = draw.random(4)
        number = int(draw.integers(len(part.sentences)))
        sentences = part.sentences
        query = _thinned(sentences[number], draw.uniform(*options.keep), draw)[: options.max_query]
        if chance[0] < options.with_title:
            query = np.concatenate([part.title, query])
        language = part.language
        if chance[1] < options.translated:
            query = self._translate(query)
            language = "en" if language == "zh" else "zh"
        if chance[2] < options.with_asked:
            asked = self._asked[language]
            query = np.concatenate([asked[draw.integers(len(asked))], query])
        if chance[3] < options.without_sentence:
            sentences = sentences[:number] + sentences[number + 1 :]
        passage = np.concatenate(sentences)
        return query, _thinned(passage, min(1.0, options.max_passage / max(1, len(passage))), draw)

    def _translate(self, ids: Ids) -> Ids:
        """Each token by a translation of it, those without one dropped."""
        found = [self._lexicon[token] for token in ids.tolist() if token in self._lexicon]
        picks = self._draw.random(len(found))
        return np.array([row[int(pick * len(row))] for row, pick in zip(found, picks, strict=True)], np.int32)


def _thinned(ids: Ids, share: float, draw: Generator) -> Ids:
    return ids if share >= 1 else ids[draw.random(len(ids)) < share]
