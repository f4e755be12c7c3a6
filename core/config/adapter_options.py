"""Which parameters are trained, and what the others are kept in."""

from dataclasses import dataclass

from core.config.schema import option
from core.errors import Sentence

_OF_ADAPTERS = ("lora_rank", "lora_alpha", "lora_layers", "base_quantization")


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """All weights, or adapters beside a frozen base."""

    adapter: str = option(
        "none",
        "none trains all weights; lora trains low-rank matrices beside the blocks' frozen ones, dora their outputs'"
        " lengths too",
        choices=("none", "lora", "dora"),
    )
    lora_rank: int = option(16, "rank of an adapter's matrices", minimum=1, maximum=1024)
    lora_alpha: float = option(32.0, "an adapter is multiplied by this over its rank", minimum=1e-6)
    lora_layers: str = option(
        "all",
        "which matrices of a block get an adapter: all seven, or the attention's four",
        choices=("all", "attention"),
    )
    base_quantization: str = option(
        "none",
        "frozen base: none keeps it as it is stored; int8, int4 or nf4 (bitsandbytes, QLoRA) for its blocks",
        choices=("none", "int8", "int4", "nf4"),
    )
    gradient_checkpointing: bool = option(
        False, "keep only the blocks' inputs and compute the rest again backwards: less memory, a third more time"
    )

    def conflicts(self) -> list[str]:
        """See `Config`."""
        if self.adapter == "none":
            return [
                Sentence(
                    "{name} {value} needs adapter lora or dora, and adapter is none",
                    name=name,
                    value=getattr(self, name),
                )
                for name in _OF_ADAPTERS
                if getattr(self, name) != getattr(AdapterOptions, name)
            ]
        return []
