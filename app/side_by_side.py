"""Several answers at once, as they grow."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.preference_rows import MAX_RANKED, Answer, Origin
from core.errors import DataError

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel
    from core.inference.token_stream import TokenStream

UPDATES_PER_S = 10
MAX_SEED = 2**31 - 1


def side_by_side(streams: "Sequence[TokenStream]") -> Iterator[list[str]]:
    """Yield all texts as they are now, UPDATES_PER_S times a second and at the end. Leaving early cancels them.

    The engine computes them together, so that reading them in turn waits for none of them long.
    """
    readers = {number: iter(stream) for number, stream in enumerate(streams)}
    shown_at = 0.0
    try:
        while readers:
            for number in list(readers):
                if next(readers[number], None) is None:
                    del readers[number]
            if time.monotonic() - shown_at >= 1 / UPDATES_PER_S:
                shown_at = time.monotonic()
                yield [stream.text for stream in streams]
        yield [stream.text for stream in streams]
    finally:
        for stream in streams:
            stream.cancel()


def candidates(
    model: "LanguageModel",
    messages: Sequence[Mapping[str, Any]],
    *,
    count: int,
    sampling: Mapping[str, Any],
    version: str = "",
    seed: int = 0,
) -> Iterator[list[Answer]]:
    """Answers to one conversation with different seeds, to be ranked; the last update has them whole.

    Raises: DataError for a number of answers that cannot be ranked, and what a chat raises.
    """
    if not 2 <= count <= MAX_RANKED:
        raise DataError("{count} answers cannot be ranked.", "Ask for 2 to {most}.", count=count, most=MAX_RANKED)
    seeds = [(seed + number) % MAX_SEED for number in range(count)]
    origins = [origin(model, {**sampling, "seed": one}, version) for one in seeds]
    kept = model.fitting(messages)
    streams = [model.chat(kept, adapter=version or None, **one.sampling) for one in origins]
    for texts in side_by_side(streams):
        yield [Answer(text, one) for text, one in zip(texts, origins, strict=True)]


def origin(model: "LanguageModel", sampling: Mapping[str, Any], version: str = "") -> Origin:
    """Where answers of a model come from."""
    return Origin(model.name, model.fingerprint, model.quantization, version, dict(sampling))
