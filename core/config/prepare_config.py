"""How files become a token data set: `PrepareConfig`."""

from dataclasses import dataclass

from core.config.schema import Config, option


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig(Config):
    """Options of `prepare`."""

    kind: str = option(
        "auto",
        "pt text, sft conversations or preference pairs; auto takes what most records are",
        choices=("auto", "pt", "sft", "preference"),
    )
    replay: bool = option(
        False,
        "preference: take conversations too, as pairs of equal answers, which dpo learns from with sft_weight alone",
    )
    validation_ratio: float = option(0.01, "share of the text held out for validation", minimum=0, maximum=0.5)
    validation_max_bytes: int = option(2_000_000, "most text to hold out", minimum=0, unit="bytes")
    drop_duplicates: bool = option(True, "drop equal and similar documents; off where repeats are meant as weights")
    near_duplicate_threshold: float = option(
        0.85, "drop a document this similar to an earlier one; 1 drops equal ones only", minimum=0.3, maximum=1
    )
    min_chars: int = option(10, "leave out shorter documents", minimum=1, unit="characters")
    workers: int = option(0, "processes; 0 is one per core", minimum=0)
    seed: int = option(1, "of the choice of the validation documents", minimum=0)
