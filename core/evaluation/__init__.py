"""How good a model is: bits per byte and perplexity, multiple choice, accuracy on pairs, win rates.

Each function takes loaded models and files and returns plain results, which `to_dict` turns into JSON.
"""

from core.evaluation.choices import ChoiceScore, evaluate_choices
from core.evaluation.margins import PreferenceMargin, preference_margin
from core.evaluation.rewards import PairScore, RewardScorer, evaluate_pairs
from core.evaluation.text import Evaluation, evaluate, read_texts, window_nats
from core.evaluation.win_rate import WinRate, win_rate

__all__ = [
    "ChoiceScore",
    "Evaluation",
    "PairScore",
    "PreferenceMargin",
    "RewardScorer",
    "WinRate",
    "evaluate",
    "evaluate_choices",
    "evaluate_pairs",
    "preference_margin",
    "read_texts",
    "win_rate",
    "window_nats",
]
