"""How one run is spread over many processes; how many there are is said when they are started."""

from dataclasses import dataclass

from core.config.schema import option


@dataclass(frozen=True, kw_only=True)
class ParallelOptions:
    """The part of a training config that only matters to several processes."""

    parallel: str = option(
        "auto",
        "of several processes, ddp gives each the whole model, fsdp a part of every weight;"
        " auto takes fsdp where the whole does not fit",
        choices=("auto", "ddp", "fsdp"),
    )
