"""Answers that a grammar allows: JSON after a schema, calls of tools with arguments after theirs.

llguidance turns a grammar and a tokenizer into the set of tokens that may follow. The grammars are in its form
of Lark (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md): text, JSON schemas, and control
tokens by their ids. Where a chat template has opened the reasoning, the grammar holds after its end. Schemas
come from clients: their size, depth and numbers are bounded here, the work on them by llguidance.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.data.tokenizer import THINK_END, TOOL_CALL_END, TOOL_CALL_START, Tokenizer
from core.data.tool_messages import walk_json
from core.errors import AssistantError, GenerationError, SetupError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_SCHEMA_CHARS = 1 << 17
MAX_SCHEMA_DEPTH = 64
# A machine that knows whether a number is a multiple of n has n states; those of two fields multiply.
MAX_MULTIPLE = 10_000
# Found by hostile schemas: the slowest that passes takes half a second to compile and 0.2 s for a mask.
MAX_GRAMMAR_SIZE, MAX_LEXER_STATES = 20_000, 50_000
# As json.dumps writes it. Where spaces are free, a weak model goes on with them: the starter took all of 33 allowed.
LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
MAX_REASON_CHARS = 200


class Constraint:
    """What may follow in one answer. Its state moves on by `advance` alone, once for each token."""

    def __init__(self, matcher: "LLMatcher", vocab_size: int) -> None:
        """Raises GenerationError when the grammar is not valid, too large, or allows no answer."""
        self._matcher = matcher
        self._allowed = np.zeros(-(-vocab_size // 32), np.int32)
        self._bias = np.empty((4 * len(self._allowed), 8), np.float32)
        self._compute()
        if matcher.is_stopped() and not matcher.is_accepting():
            raise _refused("no answer can end")

    def mask(self, scores: NDArray[np.float32]) -> None:
        """Set the scores (V,) of tokens that may not follow to -inf, in place. Raises GenerationError."""
        self._compute()
        np.take(_BIAS_OF_BYTE, self._allowed.view(np.uint8), axis=0, out=self._bias, mode="clip")
        scores += self._bias.reshape(-1)[: len(scores)]

    def advance(self, token: int) -> None:
        """Take in the chosen token. Raises GenerationError when it may not follow."""
        if not self._matcher.consume_token(token):
            raise _refused(self._matcher.get_error())

    def _compute(self) -> None:
        self._matcher.unsafe_compute_mask_ptr(self._allowed.ctypes.data, self._allowed.nbytes)
        if self._matcher.is_error():
            raise _refused(self._matcher.get_error())


class ConstraintCompiler:
    """Makes the constraints of one model's answers."""

    def __init__(self, tokenizer: Tokenizer, *, vocab_size: int) -> None:
        """`vocab_size` is the model's, which may have more rows than the tokenizer has ids."""
        self._tokenizer, self._vocab_size = tokenizer, vocab_size

    def json_schema(self, schema: Mapping[str, Any], *, after_reasoning: bool = False) -> Constraint:
        """JSON that a schema (https://json-schema.org, draft 2020-12) allows, and nothing else.

        Raises GenerationError when the schema is not valid, too large, or has keywords that cannot be forced.
        """
        return self._compile([f"answer: {_json_rule(schema)}"], after_reasoning=after_reasoning)

    def tool_call(self, tools: Sequence[Mapping[str, Any]], *, after_reasoning: bool = False) -> Constraint:
        """One call of one of the tools, which are in OpenAI's form and checked. Raises GenerationError."""
        call = " | ".join(f"call_{number}" for number in range(len(tools)))
        rules = [f'answer: {self._token(TOOL_CALL_START)} "\\n" ({call}) "\\n" {self._token(TOOL_CALL_END)}']
        for number, tool in enumerate(tools):
            function = tool["function"]
            opening = f'{{"name": {json.dumps(function["name"])}, "arguments": '
            schema = {"type": "object", **function.get("parameters", {})}
            rules.append(f'call_{number}: {json.dumps(opening)} arguments_{number} "}}"')
            rules.append(f"arguments_{number}: {_json_rule(schema, of=function['name'])}")
        return self._compile(rules, after_reasoning=after_reasoning)

    def _compile(self, rules: list[str], *, after_reasoning: bool) -> Constraint:
        tokens = self._tokens
        from llguidance import LLMatcher, LLParserLimits

        start = ["start: reasoning /\\n{0,2}/ answer", self._reasoning()] if after_reasoning else ["start: answer"]
        grammar = LLMatcher.grammar_from_lark("\n".join([*start, *rules]))
        limits = LLParserLimits(
            max_grammar_size=MAX_GRAMMAR_SIZE, max_lexer_states=MAX_LEXER_STATES, verbose_errors=False
        )
        return Constraint(LLMatcher(tokens, grammar, log_level=0, limits=limits), self._vocab_size)

    def _reasoning(self) -> str:
        """Any text up to the first </think>."""
        if THINK_END in self._tokenizer.added_tokens:
            return f"reasoning: ANY {self._token(THINK_END)}\nANY: /(.|\\n)*/"
        return r"reasoning[lazy]: /(.|\n)*<\/think>/"

    def _token(self, text: str) -> str:
        """A control token in Lark, or the text where the tokenizer has no such token."""
        token = self._tokenizer.added_tokens.get(text)
        return json.dumps(text) if token is None else f"<[{token}]>"

    @cached_property
    def _tokens(self) -> "LLTokenizer":
        """The vocabulary as llguidance has it. Raises SetupError when it is not installed."""
        try:
            from llguidance import LLTokenizer, TokenizerWrapper
        except ImportError as exc:
            raise SetupError(
                "json_schema and forced tool calls need llguidance, which is not installed.",
                "Install it with `pip install llguidance`.",
            ) from exc
        stop_ids = sorted(token for token in self._tokenizer.stop_ids if token < self._vocab_size)
        return LLTokenizer(TokenizerWrapper(_Vocabulary(self._tokenizer, self._vocab_size)), eos_token=stop_ids)


class _Vocabulary:
    """The fields that llguidance asks a tokenizer for."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        names = {token_id: name.encode() for name, token_id in tokenizer.added_tokens.items()}
        self.eos_token_id, self.bos_token_id = tokenizer.eos_id, tokenizer.bos_id
        self.tokens = [names.get(token_id, tokenizer.token_bytes(token_id)) for token_id in range(vocab_size)]
        self.special_token_ids = sorted(names)

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", "replace"))


def _json_rule(schema: Mapping[str, Any], of: str = "") -> str:
    """The right side of a Lark rule. Raises GenerationError when the schema is not plain, bounded data."""
    name = f"The parameters of {of}" if of else "json_schema"
    problem = _schema_problem(schema)
    if problem:
        raise GenerationError(f"{name} {problem}.", "Give a smaller or simpler schema.")
    return f"%json {json.dumps({**schema, 'x-guidance': LAYOUT})}"


def _schema_problem(schema: Mapping[str, Any]) -> str | None:
    multiples: list[Fraction] = []
    for value, depth in walk_json(schema):
        if depth > MAX_SCHEMA_DEPTH:
            return f"is nested deeper than {MAX_SCHEMA_DEPTH} levels"
        if isinstance(value, Mapping) and "multipleOf" in value:
            multiple = value["multipleOf"]
            if isinstance(multiple, bool) or not isinstance(multiple, int | float) or not 0 < multiple < math.inf:
                return f"has multipleOf {multiple!r:.40}, which is not a positive number"
            multiples.append(Fraction(str(multiple)))
            parts = math.lcm(*(one.numerator for one in multiples)) * math.lcm(*(one.denominator for one in multiples))
            if parts > MAX_MULTIPLE:
                return f"has values of multipleOf that together need {parts:.3g} states, over {MAX_MULTIPLE:,}"
    try:
        size = len(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as exc:
        return f"is not JSON: {exc}"
    return f"is {size:,} characters, over {MAX_SCHEMA_CHARS:,}" if size > MAX_SCHEMA_CHARS else None


def _refused(reason: str) -> AssistantError:
    """llguidance's words without the grammar and the regular expression that it quotes."""
    reason = re.split(r"\n *\d+ \| |\n<non-verbose/>", reason)[0]
    if "regex parse error" in reason:
        reason = f"bad pattern: {reason.rpartition('error: ')[2]}"
    reason = re.sub(r"^at [\d()]+: |failed to compile JSON schema: |\s+(?=\s)|\s+$|\.$", "", reason)
    reason = "no answer can end" if reason.startswith("NoExtension") else reason
    return GenerationError(
        f"The output format cannot be forced: {' '.join(reason.split())[:MAX_REASON_CHARS]}.",
        "Simplify the JSON schema or leave it out.",
    )


# Row b: what to add to the scores of eight tokens whose bits, the lowest first, are the byte b.
_BIAS_OF_BYTE = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"),
    np.float32(0),
    np.float32(-np.inf),
)
