"""Schemas that nothing can be forced by are named, and none hangs."""

import contextlib
import json
import time
from typing import Any

import pytest

from core.data.tokenizer import Tokenizer
from core.errors import GenerationError
from tests.core.inference.forced import TEXT, answer_ids, compiler, noise


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strung"}, "cannot be forced: Invalid type: strung"),
        ({"type": "string", "pattern": "("}, "cannot be forced: bad pattern: unclosed group"),
        ({"type": "string", "pattern": "(?=a)b"}, "bad pattern: look-around"),
        ({"type": "array", "uniqueItems": True}, r'Unimplemented keys: \["uniqueItems"\]'),
        ({"type": "string", "format": "nope"}, "Unknown format: nope"),
        ({"enum": []}, "Unsatisfiable schema"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "Unsatisfiable schema: incompatible types"),
        ({"$ref": "#"}, "no answer can end"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "Resource 'http://127.0.0.1:9/schema.json' is not present"),
        ({"$ref": "file:///etc/passwd"}, "Resource 'file:///etc/passwd' is not present"),
        (nested(64), "json_schema is nested deeper than 64 levels"),
        ({"enum": ["x" * 200_000]}, "json_schema is 200,0.. characters, over 131,072"),
        ({"const": {1, 2}}, "json_schema is not JSON"),
        ({"minimum": float("nan")}, "json_schema is not JSON"),
        ({"type": "integer", "multipleOf": 99_999_999}, "values of multipleOf that together need .* over 10,000"),
        ({"anyOf": [{"type": "integer", "multipleOf": n} for n in (97, 89, 83)]}, "multipleOf that together need"),
        ({"type": "number", "multipleOf": 1e-7}, "values of multipleOf that together need .* over 10,000"),
        ({"type": "integer", "multipleOf": 0}, "multipleOf 0, which is not a positive number"),
    ],
)
def test_what_cannot_be_forced_is_named_in_one_sentence(
    tokenizer: Tokenizer, schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(GenerationError, match=message) as caught:
        compiler(tokenizer).json_schema(schema)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def doubled(count: int) -> dict[str, Any]:
    """Every definition holds the one before twice."""
    definitions: dict[str, Any] = {"d0": TEXT}
    for number in range(1, count):
        before = {"$ref": f"#/$defs/d{number - 1}"}
        pair = {"type": "object", "properties": {"x": before, "y": before}}
        definitions[f"d{number}"] = {"anyOf": [{"type": "array", "items": before}, pair]}
    return {"$defs": definitions, "$ref": f"#/$defs/d{count - 1}"}


def either(count: int) -> dict[str, Any]:
    """Choices that multiply."""
    halves = [[{"type": "object", "properties": {f"{side}{n}": TEXT}} for side in "ab"] for n in range(count)]
    return {"allOf": [{"anyOf": pair} for pair in halves]}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^((((a{1,100}){1,100}){1,100}){1,100})$"},
        {"type": "string", "pattern": "^(.*a.{0,200}b){0,200}$"},
        {"type": "string", "pattern": "^.*a.{60}$"},
        {"type": "string", "pattern": "(" * 5000 + "a" + ")" * 5000},
        {"type": "string", "pattern": "^(.*(a|b).{0,30}){5}[\\u4e00-\\u9fff]{1,3000}$"},
        {"type": "string", "pattern": "^(a|b|ab)*c{1,100}$", "minLength": 500, "maxLength": 10**9},
        {"type": "object", "patternProperties": {"^(.*a.{0,100}b){0,50}$": TEXT}},
        {"type": "string", "minLength": 10**6, "maxLength": 10**7},
        {"type": "array", "items": TEXT, "minItems": 10**6},
        {"type": "array", "maxItems": 999, "items": {"type": "array", "maxItems": 999, "items": {"type": "integer"}}},
        {"type": "object", "minProperties": 10**6},
        {"type": "integer", "multipleOf": 9973, "minimum": -(10**15), "maximum": 10**15 + 1},
        {"type": "number", "minimum": -1e300, "maximum": 1.00000000000001e300},
        {"enum": [f"value{number}" for number in range(9000)]},
        {"type": "object", "properties": {f"k{n}": TEXT for n in range(2000)}},
        {"properties": {f"k{n}": TEXT for n in range(1000)}, "required": [f"k{n}" for n in range(999)]},
        doubled(40),
        either(8),
        either(10),
        either(16),
        {"allOf": [either(7), doubled(20)]},
        {"type": "object", "x-guidance": {"whitespace_pattern": "((a{1,100}){1,100}){1,100}"}},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)  # fmt: skip
def test_no_schema_hangs(tokenizer: Tokenizer, schema: dict[str, Any]) -> None:
    """It is refused, or its first 30 tokens come; in either case soon."""
    size = tokenizer.vocab_size + 40
    begin = time.thread_time()
    with contextlib.suppress(GenerationError):
        constraint = compiler(tokenizer).json_schema(schema)
        answer_ids(noise(size, 0), constraint, vocab_size=size, stop_ids=tokenizer.stop_ids, max_new_tokens=30, seed=0)
    assert time.thread_time() - begin < 5
