"""Models that a newcomer can choose from: small, openly licensed, of families that run here.

Each revision is a commit that public records name for that repository; where none is known it is None: the download
then resolves the newest one and records its commit. Sizes are of the files that are fetched, shapes those of each
`config.json`, so that memory and speed can be told before anything is asked of the hub.
"""

from dataclasses import dataclass

from core.config.model_config import ModelConfig

APACHE = "Apache-2.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One model. `about` is the key of a text on what it is good for; `languages` are codes."""

    name: str
    title: str
    revision: str | None
    licence: str
    num_bytes: int
    languages: tuple[str, ...]
    about: str
    config: ModelConfig


def _shape(
    family: str, sizes: tuple[int, int, int], heads: tuple[int, int, int], vocab: int, **more: int
) -> ModelConfig:
    hidden, feed_forward, layers = sizes
    query, key_value, head_dim = heads
    return ModelConfig(
        model_type=family,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=query,
        num_key_value_heads=key_value,
        head_dim=head_dim,
        max_position_embeddings=more.get("context", 32768),
        tie_word_embeddings=bool(more.get("tied", 1)),
        attention_bias=family == "qwen2",
        qk_norm=family == "qwen3",
    )


CATALOGUE = (
    Offer(
        name="Qwen/Qwen2.5-0.5B-Instruct",
        title="Qwen2.5 0.5B",
        revision="7ae557604adf67be50417f59c2c2f167def9a775",
        licence=APACHE,
        num_bytes=999_600_000,
        languages=("zh", "en"),
        about="offer_quick",
        config=_shape("qwen2", (896, 4864, 24), (14, 2, 64), 151936),
    ),
    Offer(
        name="Qwen/Qwen3-0.6B",
        title="Qwen3 0.6B",
        revision="c1899de289a04d12100db370d81485cdf75e47ca",
        licence=APACHE,
        num_bytes=1_519_000_000,
        languages=("zh", "en"),
        about="offer_thinks",
        config=_shape("qwen3", (1024, 3072, 28), (16, 8, 128), 151936, context=40960),
    ),
    Offer(
        name="Qwen/Qwen2.5-1.5B-Instruct",
        title="Qwen2.5 1.5B",
        revision="989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
        licence=APACHE,
        num_bytes=3_098_900_000,
        languages=("zh", "en"),
        about="offer_best",
        config=_shape("qwen2", (1536, 8960, 28), (12, 2, 128), 151936),
    ),
    Offer(
        name="Qwen/Qwen3-1.7B",
        title="Qwen3 1.7B",
        revision="70d244cc86ccca08cf5af4e1e306ecf908b1ad5e",
        licence=APACHE,
        num_bytes=4_079_300_000,
        languages=("zh", "en"),
        about="offer_thinks_more",
        config=_shape("qwen3", (2048, 6144, 28), (16, 8, 128), 151936, context=40960),
    ),
    Offer(
        name="ViperEkura/AstrAI-V1-instruct",
        title="AstrAI V1 1.2B",
        revision=None,
        licence="",
        num_bytes=2_415_000_000,
        languages=("zh", "en"),
        about="offer_own",
        config=_shape("llama", (1536, 6912, 24), (24, 4, 64), 100_000, tied=0),
    ),
    Offer(
        name="HuggingFaceTB/SmolLM2-360M-Instruct",
        title="SmolLM2 360M",
        revision="a10cc1512eabd3dde888204e902eca88bddb4951",
        licence=APACHE,
        num_bytes=727_000_000,
        languages=("en",),
        about="offer_smallest",
        config=_shape("llama", (960, 2560, 32), (15, 5, 64), 49152, context=8192),
    ),
    Offer(
        name="HuggingFaceTB/SmolLM2-1.7B-Instruct",
        title="SmolLM2 1.7B",
        revision="31b70e2e869a7173562077fd711b654946d38674",
        licence=APACHE,
        num_bytes=3_426_000_000,
        languages=("en",),
        about="offer_english",
        config=_shape("llama", (2048, 8192, 24), (32, 32, 64), 49152, context=8192),
    ),
    Offer(
        name="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        title="TinyLlama 1.1B",
        revision="fe8a4ea1ffedaf415f4da2f062534de366a451e6",
        licence=APACHE,
        num_bytes=2_202_500_000,
        languages=("en",),
        about="offer_classic",
        config=_shape("llama", (2048, 5632, 22), (32, 4, 64), 32000, context=2048, tied=0),
    ),
)
BY_NAME = {offer.name: offer for offer in CATALOGUE}
# What the first page offers a newcomer, the first one beforehand.
FIRST = ("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct")
