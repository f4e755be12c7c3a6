"""Forced output: whatever the model says, the answer parses and validates; no schema hangs."""

import builtins
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import tokenizers
import torch

from core.config.model_config import PRESETS, ModelConfig
from core.config.param_config import SamplingConfig
from core.data.chat_template import ChatTemplate
from core.data.tokenizer import Tokenizer
from core.errors import GenerationError, SetupError
from core.inference.answer_parts import AnswerParser, PartKind
from core.inference.constraint import Constraint, ConstraintCompiler
from core.inference.sampling import Sampler
from core.inference.tools import tool_use
from core.model.checkpoint import load_model
from core.model.transformer import Transformer
from tests.core.inference.forced import TEXT, answer_ids, compiler, noise

ROOT = Path(__file__).resolve().parents[3]
PERSON = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 3},
        "mood": {"enum": ["good", "坏", None]},
        "home": {
            "type": "object",
            "properties": {"city": TEXT, "at": {"type": "number", "minimum": -90, "maximum": 90}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "tags", "mood", "home"],
    "additionalProperties": False,
}
SHORT = {
    "type": "object",
    "properties": {"name": TEXT, "mood": {"enum": ["good", "坏"]}},
    "required": ["name", "mood"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"type": "boolean"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["v", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS = [
    PERSON,
    {"type": "array", "items": {"enum": ["红", "蓝", "green"]}, "minItems": 2, "maxItems": 4},
    {"type": "string", "pattern": "^[一-龥]{2,6}$"},
    {"type": "string", "format": "date"},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1000},
    {"anyOf": [{"const": "yes"}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}]},
    {"enum": ["中文", '"quoted" \\ and\nlines', 7, None, [1, {"a": False}]]},
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"enum": [1, 3, 7]}},
            "required": ["city", "days"],
            "additionalProperties": False,
            "$defs": {"city": {"type": "string", "minLength": 1, "maxLength": 8}},
        },
    },
}
TIME = {
    "type": "function",
    "function": {"name": "time", "parameters": {"properties": {}, "additionalProperties": False}},
}


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level BPE as the checkpoints of others have it, with words and Chinese characters."""
    folder = tmp_path_factory.mktemp("byte_level")
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(['{"name": "fox", "tags": ["红", "蓝"]}\n', "the quick brown fox 今天天气"] * 9, trainer)
    model.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    model.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    return Tokenizer.load(folder)


@pytest.fixture(scope="module", params=["ours", "theirs"])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Tokenizer, byte_level: Tokenizer) -> Tokenizer:
    return tokenizer if request.param == "ours" else byte_level


@torch.inference_mode()
def step(model: Transformer, ids: list[int]) -> torch.Tensor:
    """Logits (V,) after the ids."""
    return model(torch.tensor([ids]))[0, -1]


def forced_text(tokenizer: Tokenizer, constraint: Constraint, *, seed: int, **sampling: Any) -> str:
    """A whole answer out of noise."""
    size = tokenizer.vocab_size + 40
    ids, has_ended = answer_ids(
        noise(size, seed), constraint, vocab_size=size, stop_ids=tokenizer.stop_ids, seed=seed, **sampling
    )
    assert has_ended
    decoder = tokenizer.stream_decoder(keeps_markup=True)
    return "".join(map(decoder.push, ids)) + decoder.flush()


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_noise_becomes_json_that_the_schema_allows(
    any_tokenizer: Tokenizer, schema: dict[str, Any], temperature: float
) -> None:
    made = compiler(any_tokenizer)
    for seed in range(3):
        text = forced_text(any_tokenizer, made.json_schema(schema), seed=seed, temperature=temperature)
        jsonschema_rs.validate(schema, json.loads(text))


def test_a_recursive_schema_ends_where_the_model_lets_it(tokenizer: Tokenizer) -> None:
    null = {str(token): 20.0 for token in tokenizer.encode("n")}
    text = forced_text(tokenizer, compiler(tokenizer).json_schema(TREE), seed=1, logit_bias=null)
    jsonschema_rs.validate(TREE, json.loads(text))


def test_any_object_is_an_object(any_tokenizer: Tokenizer) -> None:
    """What OpenAI calls json_object. Noise would never close it: quotes, brackets and the end are likelier."""
    closing = {str(token): 6.0 for text in ('"', "}", "]") for token in any_tokenizer.encode(text)}
    for seed in range(4):
        constraint = compiler(any_tokenizer).json_schema({"type": "object"})
        assert isinstance(json.loads(forced_text(any_tokenizer, constraint, seed=seed, logit_bias=closing)), dict)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_random_model_answers_in_the_schema(tokenizer: Tokenizer, temperature: float) -> None:
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "initializer_range": 0.3}
    model = Transformer(ModelConfig.from_dict(values))
    model.init_weights(seed=3)
    constraint = ConstraintCompiler(tokenizer, vocab_size=tokenizer.vocab_size).json_schema(PERSON)

    ids, has_ended = answer_ids(
        lambda ids: step(model, [1, *ids]),
        constraint,
        vocab_size=tokenizer.vocab_size,
        stop_ids=tokenizer.stop_ids,
        temperature=temperature,
        max_new_tokens=250,
        seed=5,
    )
    assert has_ended
    jsonschema_rs.validate(PERSON, json.loads(tokenizer.decode(ids)))


def test_the_end_is_allowed_only_where_the_json_is_whole(tokenizer: Tokenizer) -> None:
    constraint = compiler(tokenizer).json_schema({"const": [1]})
    ids = tokenizer.encode("[1]")
    for token in ids:
        assert not allowed(constraint, tokenizer) & tokenizer.stop_ids
        constraint.advance(token)
    assert allowed(constraint, tokenizer) == tokenizer.stop_ids


def allowed(constraint: Constraint, tokenizer: Tokenizer) -> set[int]:
    scores = np.zeros(tokenizer.vocab_size + 40, np.float32)
    constraint.mask(scores)
    assert set(np.unique(scores)) <= {0.0, -np.inf}
    return set(np.flatnonzero(scores == 0).tolist())


def test_the_mask_holds_every_token_that_spells_a_beginning(any_tokenizer: Tokenizer) -> None:
    """Byte tokens and rows of the model that the tokenizer lacks among them."""
    constraint = compiler(any_tokenizer).json_schema({"const": "今天"})
    whole = '"今天"'.encode()
    spelt = {
        token
        for token in range(any_tokenizer.vocab_size)
        if any_tokenizer.token_bytes(token) and whole.startswith(any_tokenizer.token_bytes(token))
    }
    assert allowed(constraint, any_tokenizer) == spelt
    assert spelt


def test_masks_do_not_move_the_state_on_and_drafts_cost_nothing(tokenizer: Tokenizer) -> None:
    constraint = compiler(tokenizer).json_schema({"const": "ab"})
    first = allowed(constraint, tokenizer)
    assert allowed(constraint, tokenizer) == first
    constraint.advance(tokenizer.encode('"')[0])
    assert allowed(constraint, tokenizer) != first


def test_a_token_that_may_not_follow_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(GenerationError, match="The output format cannot be forced"):
        compiler(tokenizer).json_schema({"type": "object"}).advance(tokenizer.encode("x")[0])


def test_a_model_without_any_probability_for_what_is_allowed_says_so(tokenizer: Tokenizer) -> None:
    size = tokenizer.vocab_size + 40
    logits = torch.full((size,), -torch.inf)
    logits[tokenizer.encode("x")[0]] = 0
    sampler = Sampler(SamplingConfig(), [], vocab_size=size, constraint=compiler(tokenizer).json_schema({"const": 1}))
    with pytest.raises(GenerationError, match="no probability to any token that the output format allows"):
        sampler.next(logits)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_call_is_one_of_the_chosen_tools(any_tokenizer: Tokenizer, choice: Any) -> None:
    use = tool_use([TIME, WEATHER], choice)
    names = {tool["function"]["name"] for tool in use.forced}
    called = set()
    for seed in range(12):
        text = forced_text(any_tokenizer, compiler(any_tokenizer).tool_call(use.forced), seed=seed)
        parser = AnswerParser(tool_names=use.names)
        (part,) = parser.push(text) + parser.flush()
        assert part.call is not None
        called.add(part.call.name)
        tool = {"weather": WEATHER, "time": TIME}[part.call.name]
        jsonschema_rs.validate(tool["function"]["parameters"], json.loads(part.call.arguments))
    assert called == names


def test_what_is_forced_begins_after_open_reasoning(any_tokenizer: Tokenizer) -> None:
    tag = any_tokenizer.added_tokens.get("</think>")
    said = [*any_tokenizer.encode("so {<thinking"), *(any_tokenizer.encode("</think>") if tag is None else [tag])]
    size = any_tokenizer.vocab_size + 40
    free = noise(size, 7)

    def logits(ids: list[int]) -> torch.Tensor:
        """What is said first, then noise."""
        return free(ids) + 99 * torch.eye(size)[said[len(ids)]] if len(ids) < len(said) else free(ids)

    made = compiler(any_tokenizer)
    for constraint, names in (
        (made.json_schema(PERSON, after_reasoning=True), ()),
        (made.tool_call([WEATHER], after_reasoning=True), ("weather",)),
    ):
        ids, has_ended = answer_ids(logits, constraint, vocab_size=size, stop_ids=any_tokenizer.stop_ids, seed=0)
        assert has_ended
        decoder = any_tokenizer.stream_decoder(keeps_markup=True)
        parser = AnswerParser(tool_names=names, in_reasoning=True)
        parts = parser.push("".join(map(decoder.push, ids))) + parser.flush()
        assert "".join(part.text for part in parts if part.kind == PartKind.REASONING) == "so {<thinking"
        content = "".join(part.text for part in parts if part.kind == PartKind.CONTENT)
        calls = [json.loads(part.call.arguments) for part in parts if part.call]
        schema = WEATHER["function"]["parameters"] if names else PERSON
        jsonschema_rs.validate(schema, calls[0] if names else json.loads(content))


def test_json_is_laid_out_as_python_does_it(tokenizer: Tokenizer) -> None:
    text = forced_text(tokenizer, compiler(tokenizer).json_schema(PERSON), seed=3)
    assert json.dumps(json.loads(text), ensure_ascii=False, separators=(", ", ": ")).count('", "') == text.count('", "')
    assert text.startswith('{"name": "')


def test_tools_with_bad_parameters_are_named(tokenizer: Tokenizer) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"x": {"multipleOf": 10**6}}}}
    with pytest.raises(GenerationError, match="The parameters of f has values of multipleOf"):
        compiler(tokenizer).tool_call([tool])


def test_without_llguidance_one_sentence_says_what_to_install(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "llguidance":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SetupError, match=r"need llguidance, which is not installed\. Install it with `pip install"):
        compiler(tokenizer).json_schema({"type": "object"})


@pytest.mark.skipif(not (ROOT / "models/starter").is_dir(), reason="models/starter is not in this checkout")
def test_the_starter_answers_in_the_schema() -> None:
    folder = ROOT / "models/starter"
    tokenizer, model = Tokenizer.load(folder), load_model(folder, dtype=torch.float32)
    prompt = ChatTemplate(tokenizer).encode([{"role": "user", "content": "Who?"}], add_generation_prompt=True)
    made = ConstraintCompiler(tokenizer, vocab_size=model.config.vocab_size)
    for temperature in (0.0, 1.0):
        ids, has_ended = answer_ids(
            lambda ids: step(model, [*prompt, *ids]),
            made.json_schema(SHORT),
            vocab_size=model.config.vocab_size,
            stop_ids=tokenizer.stop_ids,
            temperature=temperature,
            max_new_tokens=60,
            seed=1,
        )
        assert has_ended
        jsonschema_rs.validate(SHORT, json.loads(tokenizer.decode(ids)))
