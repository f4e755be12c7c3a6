"""A library and an embedder, small but real: what the application would give the server."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.inference.protocols import Citation
from core.inference.token_stream import Piece
from tests.core.inference.server.fake_model import FakeModel, FakeStream

DOCUMENTS = {"zoo": {"cats.txt": "Cats sleep sixteen hours a day.", "dogs.txt": "Dogs bark at night."}}


class FakeLibrary:
    """Answers with the sentence that shares the most words with the question, and cites it."""

    def answer(
        self, messages: Sequence[Mapping[str, Any]], *, collections: Sequence[str], sampling: Mapping[str, Any]
    ) -> FakeStream:
        missing = [name for name in collections if name not in DOCUMENTS]
        if missing:
            raise DataError(f"There is no collection {missing[0]!r}.", f"There are: {', '.join(DOCUMENTS)}.")
        question = _words(messages[-1]["content"])
        found = {name: text for one in collections for name, text in DOCUMENTS[one].items()}
        document, text = max(found.items(), key=lambda pair: len(question & _words(pair[1])))
        model = FakeModel()
        stream = FakeStream(model, [Piece(f"{word} ", ()) for word in text.split()])
        stream.citations = [Citation(document, text, page=1, answer_start=0, answer_end=len(text))]
        model.streams.append(stream)
        return stream


class FakeEmbedder:
    """Counts letters."""

    name, dimensions = "letters", 26

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = [[1 + text.lower().count(chr(97 + at)) for at in range(26)] for text in texts]
        vectors = np.array(counts, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(_words(text)) for text in texts)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
