"""What an answer was made from, as it is kept with the answer: the prompt, what was left out, passages, sampling, cost.

All of it is plain JSON of bounded size. `app.seen_view` shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.passages import place_of
from app.seen_view import Usage

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel
    from core.inference.token_stream import TokenStream
    from rag.hits import Hit

MAX_PROMPT_CHARS = 60_000
MAX_DROPPED, MAX_DROPPED_CHARS = 100, 200
MAX_PASSAGES, MAX_PASSAGE_CHARS = 24, 2_000


def seen(
    model: "LanguageModel",
    stream: "TokenStream",
    sampling: Mapping[str, Any],
    *,
    version: str = "",
    dropped: Sequence[Mapping[str, Any]] = (),
    passages: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The record of an answer that has ended. `dropped` are the turns that the model was not given."""
    prompt = model.tokenizer.spell(stream.prompt_ids)
    asked = {**model.sampling.to_dict(), **sampling}
    return {
        "prompt": shortened(prompt, MAX_PROMPT_CHARS),
        "prompt_chars": len(prompt),
        "dropped": [
            {"role": turn["role"], "content": shortened(str(turn["content"]), MAX_DROPPED_CHARS)}
            for turn in dropped[:MAX_DROPPED]
        ],
        "num_dropped": len(dropped),
        "passages": [
            {**row, "text": shortened(str(row["text"]), MAX_PASSAGE_CHARS)} for row in passages[:MAX_PASSAGES]
        ],
        "sampling": {name: value for name, value in asked.items() if value not in (None, [], {}, "")},
        "model": model.name,
        "quantization": model.quantization,
        "fingerprint": model.fingerprint,
        "version": version,
        "finish_reason": stream.finish_reason,
        "stats": asdict(stream.stats),
    }


def usage_of(stream: "TokenStream", dropped: Sequence[Mapping[str, Any]]) -> Usage:
    """What a stream has taken by now."""
    stats = stream.stats
    first, last = (shortened(str(dropped[at]["content"]), MAX_DROPPED_CHARS) if dropped else "" for at in (0, -1))
    return Usage(
        tokens_per_s=stats.tokens_per_s,
        first_s=stats.time_to_first_token_s,
        completion_tokens=stats.completion_tokens,
        context_tokens=stats.context_tokens,
        max_seq_len=stats.max_seq_len,
        num_dropped=len(dropped),
        first_dropped=first,
        last_dropped=last,
        finish_reason=stream.finish_reason,
    )


def passage_rows(hits: "Sequence[Hit]") -> list[dict[str, Any]]:
    """Passages of the library, for the record."""
    return [
        {"name": hit.path.name, "page": hit.page, "address": place_of(hit).address, "text": hit.text} for hit in hits
    ]


def shortened(text: str, most: int) -> str:
    """The text, without its middle where it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} …]\n{text[-half:]}"
