"""Options of the stages that learn from pairs of answers: `rm` and `dpo`."""

from dataclasses import dataclass

from core.config.schema import option
from core.errors import Sentence

LOSSES = ("sigmoid", "robust", "hinge", "ipo", "simpo", "orpo", "kto")
# Losses that need no reference: the policy alone decides.
WITHOUT_REFERENCE = ("simpo", "orpo")
# What each option is for, where that is not every loss.
_LOSSES_OF = {
    "label_smoothing": ("sigmoid", "robust"),
    "sft_weight": ("sigmoid", "robust", "hinge", "ipo", "simpo"),
    "simpo_margin": ("simpo",),
    "kto_chosen_weight": ("kto",),
    "kto_rejected_weight": ("kto",),
}


@dataclass(frozen=True, kw_only=True)
class PreferenceOptions:
    """What a pair teaches, and how strongly."""

    loss: str = option(
        "sigmoid",
        "DPO's own loss, or robust, hinge, ipo, simpo, orpo, kto; simpo and orpo need no reference model",
        choices=LOSSES,
        stages=("dpo",),
    )
    beta: float = option(
        0.1,
        "strength of the tie to the reference; for orpo the weight of the pair beside the answer, for simpo the"
        " scale of the log-probabilities, where 2 is usual",
        minimum=1e-6,
        stages=("dpo",),
    )
    label_smoothing: float = option(
        0.0,
        "sigmoid and robust: share of the pairs that are taken to be the wrong way round",
        minimum=0,
        maximum=0.49,
        stages=("dpo",),
    )
    sft_weight: float = option(
        0.0,
        "weight of -log p of the chosen answer, per token, beside the pair's loss; it keeps the chosen answers likely,"
        " and is all that is learnt from conversations among the pairs",
        minimum=0,
        stages=("dpo",),
    )
    simpo_margin: float = option(
        0.5, "simpo: how much better the chosen answer must be, in scaled nats per token", minimum=0, stages=("dpo",)
    )
    kto_chosen_weight: float = option(1.0, "kto: weight of the better answers", minimum=0, stages=("dpo",))
    kto_rejected_weight: float = option(1.0, "kto: weight of the worse answers", minimum=0, stages=("dpo",))
    cache_reference: bool = option(
        False,
        "compute the reference's log-probabilities once, before training, and keep them beside the data",
        stages=("dpo",),
    )
    reward_margin: float = option(0.0, "by how much the better answer must score higher", minimum=0, stages=("rm",))
    reward_centring: float = option(
        0.0, "weight of the term that keeps scores around zero; 0.01 is usual", minimum=0, stages=("rm",)
    )

    def conflicts(self) -> list[str]:
        """See `Config`."""
        problems: list[str] = [
            Sentence(
                "{name} belongs to the loss {losses}, not to {loss}", name=name, losses=tuple(losses), loss=self.loss
            )
            for name, losses in _LOSSES_OF.items()
            if self.loss not in losses and getattr(self, name) != getattr(PreferenceOptions, name)
        ]
        if self.cache_reference and self.loss in WITHOUT_REFERENCE:
            problems.append(Sentence("cache_reference is true, and the loss {loss} has no reference", loss=self.loss))
        return problems
