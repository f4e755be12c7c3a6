"""How a reply is drawn from the model: `SamplingConfig`, the parameters of one generation."""

from dataclasses import dataclass

from core.config.schema import Config, option


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig(Config):
    """Parameters of one generation. Temperature 0 is greedy and ignores the other filters."""

    max_new_tokens: int = option(256, "most tokens to generate", minimum=1, unit="tokens")
    temperature: float = option(0.7, "0 takes the likeliest token; higher is more varied", minimum=0, maximum=5)
    top_k: int = option(0, "keep the k likeliest tokens; 0 keeps all", minimum=0)
    top_p: float = option(0.95, "keep the smallest set with this total probability", minimum=0, maximum=1)
    min_p: float = option(0.0, "drop tokens below this share of the likeliest one", minimum=0, maximum=1)
    repetition_penalty: float = option(
        1.0, "divide positive and multiply negative logits of tokens seen before", minimum=0.1, maximum=10
    )
    seed: int | None = option(None, "same seed, same reply; none draws a fresh one", minimum=0, maximum=2**63 - 1)
    stop: list[str] = option([], "stop before any of these strings")

    def conflicts(self) -> list[str]:
        bad = [text for text in self.stop if not isinstance(text, str) or not text]
        return [f"stop holds {bad[0]!r}, it must hold non-empty strings"] if bad else []
