"""What a loss in nats means: bits per byte of text, which models with different vocabularies share."""

import math


def bits_per_byte(loss_sum: float, num_bytes: float) -> float:
    """Bits needed per byte of text: loss_sum nats over the tokens that encode num_bytes."""
    return loss_sum / math.log(2) / num_bytes
