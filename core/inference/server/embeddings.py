"""Vectors in OpenAI's form. Source: https://platform.openai.com/docs/api-reference/embeddings."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.inference.openai_error import RequestError
from core.inference.openai_request import EmbeddingRequest
from core.inference.protocols import Embedder


def embeddings(asked: EmbeddingRequest, embedder: Embedder) -> dict[str, Any]:
    """The response. Raises RequestError for a number of dimensions that the vectors do not have."""
    if asked.dimensions not in (None, embedder.dimensions):
        raise RequestError(
            f"dimensions is {asked.dimensions}, the vectors of {embedder.name!r} have {embedder.dimensions}.",
            param="dimensions",
        )
    vectors = embedder.embed(asked.input)  # (N, D)
    num_tokens = embedder.count_tokens(asked.input)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {"object": "list", "data": data, "model": embedder.name, "usage": usage}


def _encoded(vector: NDArray[np.float32], encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    values: list[float] = vector.tolist()
    return values
