"""How sure a counted share is."""

import math

Z_95 = 1.959963984540054


def share_interval(hits: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of hits / count; ties may count as half.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    assert 0 <= hits <= count, (hits, count)
    assert count, "a share of nothing"
    share, square = hits / count, Z_95**2 / count
    middle = (share + square / 2) / (1 + square)
    half = Z_95 / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)
