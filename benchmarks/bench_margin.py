"""What is left of a preference adapter over a quantised base: served beside the base, or merged before quantising.

The margin of a pair is how much more likely the chosen answer is than the rejected one, against the base in the same
form, in nats; all of them come from the runner that serves answers. A form loses what its margins are below those in
fp32, and adds noise: the root mean square of what it differs in, pair by pair.
"""

import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel

    Pair = list[tuple[list[int], int]]  # the ids of both sequences, and where their answers begin

FORMS = ("none", "int8", "int4")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, help="folder of a finished run with an adapter")
    parser.add_argument("--pairs", type=Path, help="prepared preference data, of which the held-out pairs are taken")
    parser.add_argument("--num-pairs", type=int, default=24, help="pairs to score at most (default 24)")
    parser.add_argument("--max-tokens", type=int, default=512, help="longer pairs are left out (default 512)")


def run(arguments: Namespace) -> dict[str, Any]:
    import core
    from core.errors import ConfigError
    from core.model.adapted_model import base_folder
    from core.model.folder import find_model

    if arguments.run is None or arguments.pairs is None:
        raise ConfigError("A run and its data are needed.", "Give --run and --pairs.")
    folder = find_model(arguments.run)
    base = base_folder(folder)
    pairs = _held_out(arguments.pairs, arguments.num_pairs, arguments.max_tokens)
    beside: dict[str, list[float]] = {}
    merged: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        whole = core.export(folder, Path(place) / "merged")
        for form in FORMS:
            with closing(core.load(base, quantization=form, adapters={"new": folder})) as model:
                reference, adapted = _margins(model, pairs), _margins(model, pairs, "new")
            with closing(core.load(whole, quantization=form)) as model:
                one = _margins(model, pairs)
            beside[form] = [new - old for new, old in zip(adapted, reference, strict=True)]
            merged[form] = [new - old for new, old in zip(one, reference, strict=True)]
    exact = beside["none"]
    figures: dict[str, Any] = {"pairs": len(pairs), "margin_fp32_nats": round(statistics.mean(exact), 3)}
    for form in FORMS[1:]:
        for name, margins in (("beside", beside[form]), ("merged", merged[form])):
            errors = [(margin - true) ** 2 for margin, true in zip(margins, exact, strict=True)]
            figures[f"margin_{form}_{name}_nats"] = round(statistics.mean(margins), 3)
            figures[f"noise_{form}_{name}_nats"] = round(statistics.mean(errors) ** 0.5, 3)
            agreeing = sum((margin > 0) == (true > 0) for margin, true in zip(margins, exact, strict=True))
            figures[f"same_sign_{form}_{name}"] = f"{agreeing} of {len(pairs)}"
    return figures


def _held_out(folder: Path, most: int, max_tokens: int) -> "list[Pair]":
    from core.data.mmap_file import MmapFileHandler

    handler = MmapFileHandler(folder)
    pairs: list[Pair] = []
    for document in range(0, handler.num_documents("validation"), 2):
        pair: Pair = []
        for place in (document, document + 1):
            mask = handler.loss_mask("validation", place)
            assert mask is not None, "preference data has a mask"
            pair.append((handler.ids("validation", place).tolist(), int(mask.argmax())))
        if max(len(ids) for ids, _ in pair) <= max_tokens and len(pairs) < most:
            pairs.append(pair)
    return pairs


def _margins(model: "LanguageModel", pairs: "list[Pair]", adapter: str | None = None) -> list[float]:
    from core.evaluation.text import window_nats

    scores = [[window_nats(model, ids, first, adapter) for ids, first in pair] for pair in pairs]
    return [rejected - chosen for chosen, rejected in scores]
