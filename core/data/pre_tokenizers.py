"""How byte-level tokenizers cut a text before they merge: GGUF's names for it, and the same in `tokenizer.json`.

GGUF names a way of cutting (`tokenizer.ggml.pre`), `tokenizer.json` spells it out. The patterns are those of
the published tokenizers of the families named.
"""

from dataclasses import dataclass
from typing import Any

from core.errors import ModelError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS_AND_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _WORDS_AND_SIGNS
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _WORDS_AND_SIGNS
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Steps that are not a pattern.
DIGITS, BYTE_LEVEL_WORDS = "one digit each", "the words of GPT-2"


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One way of cutting: patterns applied one after the other, or one of the named steps."""

    steps: tuple[str, ...]
    ignores_merges: bool = False  # a word that is a token is taken whole
    adds_bos: bool = False  # where the file does not say
    composes: bool = False  # Unicode's NFC before anything else


_QWEN = PreTokenizer((_QWEN2,), composes=True)
_LLAMA = PreTokenizer((_LLAMA3,), ignores_merges=True, adds_bos=True)
_SMOLLM = PreTokenizer((DIGITS, BYTE_LEVEL_WORDS))
PRE_TOKENIZERS = {
    "llama-bpe": _LLAMA,
    "llama3": _LLAMA,
    "llama-v3": _LLAMA,
    "qwen2": _QWEN,
    # The same cutting; DeepSeek's distillations compose nothing.
    "deepseek-r1-qwen": PreTokenizer((_QWEN2,)),
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "gpt-2": PreTokenizer((BYTE_LEVEL_WORDS,)),
    "tekken": PreTokenizer((_TEKKEN,), ignores_merges=True, adds_bos=True),
    "default": PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
}


def pre_tokenizer(name: str) -> PreTokenizer:
    """The way of cutting that GGUF calls `name`. Raises ModelError for one that is not known."""
    if name not in PRE_TOKENIZERS:
        raise ModelError(
            "The tokenizer cuts texts as {name!r}, which is not known here.",
            "Use the safetensors folder, or a file with one of: {known}.",
            name=name,
            known=", ".join(PRE_TOKENIZERS),
        )
    return PRE_TOKENIZERS[name]


def as_json(pre: PreTokenizer) -> dict[str, Any]:
    """The fields `normalizer` and `pre_tokenizer` of a `tokenizer.json`."""
    steps: list[dict[str, Any]] = []
    for step in pre.steps:
        if step == DIGITS:
            steps.append({"type": "Digits", "individual_digits": True})
        elif step != BYTE_LEVEL_WORDS:
            steps.append({"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False})
    use_regex = pre.steps[-1] == BYTE_LEVEL_WORDS
    steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": use_regex})
    return {
        "normalizer": {"type": "NFC"} if pre.composes else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
    }


def name_in_gguf(tokenizer: dict[str, Any]) -> str:
    """GGUF's name for how a `tokenizer.json` cuts. Raises ModelError where it has none."""
    pre = tokenizer.get("pre_tokenizer") or {}
    steps = tuple(_step(entry) for entry in pre.get("pretokenizers", [pre]))
    steps = tuple(step for step in steps if step)
    normalizer = (tokenizer.get("normalizer") or {}).get("type")
    if normalizer in (None, "NFC"):
        same = {name: known for name, known in PRE_TOKENIZERS.items() if known.steps == steps}
        exact = [name for name, known in same.items() if known.composes == (normalizer == "NFC")]
        if same:
            return (exact or list(same))[0]
    raise ModelError("The tokenizer cuts texts in a way that GGUF has no name for.", "Export to hf instead.")


def _step(entry: dict[str, Any]) -> str | None:
    """What one entry of `pre_tokenizer` does; None for nothing."""
    match entry.get("type"):
        case "Split" if entry.get("behavior") == "Isolated" and not entry.get("invert"):
            return str(entry.get("pattern", {}).get("Regex"))
        case "Digits" if entry.get("individual_digits"):
            return DIGITS
        case "ByteLevel" if not entry.get("add_prefix_space"):
            return BYTE_LEVEL_WORDS if entry.get("use_regex", True) else None
        case _:
            return f"unknown: {entry}"
