"""Tools in prompts: checked, bounded, in the template's form, and never a control token."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from core.data.chat_template import ChatTemplate
from core.data.tokenizer import StreamDecoder, Tokenizer
from core.data.tool_messages import MAX_TOOLS_CHARS, checked_messages, checked_tools
from core.errors import GenerationError

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "北京"}'}}
TURNS = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "and the weather"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]
# What checkpoints' templates do with tools, in the ways they do it.
FOREIGN = (
    "{% if tools %}{{ tools | tojson }}{% for tool in tools %}{{ tool.function.name }}{{ tool.function.description }}"
    "{% for key, value in tool.function.parameters.properties.items() %}{{ key }}: {{ value.type }}"
    "{{ value.description }}{% endfor %}{{ tool['function']['parameters']['required'] | join(',') }}"
    "{% endfor %}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.reasoning_content }}"
    "{{ m.tool_call_id }}{{ m.name }}"
    "{% for call in m.tool_calls %}{{ call.id }}{{ call.function.name }}{{ call.function.arguments | tojson }}"
    "{% for key, value in call.function.arguments.items() %}{{ key }}={{ value }}{% endfor %}{% endfor %}"
    "<|im_end|>{% endfor %}"
)  # fmt: skip


def control_ids(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    return [token_id for token_id in ids if token_id in tokenizer.added_tokens.values()]


def rendered(template: ChatTemplate, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    """The prompt with its control tokens spelt."""
    tokenizer = template.tokenizer
    decoder = StreamDecoder(tokenizer._backend, {token_id: name for name, token_id in tokenizer.added_tokens.items()})
    ids = template.encode(messages, tools=tools, add_generation_prompt=True)
    return "".join(map(decoder.push, ids)) + decoder.flush()


def foreign(tokenizer: Tokenizer, folder: Path, source: str = FOREIGN) -> ChatTemplate:
    tokenizer.save(folder)
    loaded = Tokenizer.load(folder)
    loaded.chat_template = source
    return ChatTemplate(loaded)


def hostile(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A conversation and a tool with the text wherever somebody else writes."""
    properties = {text: {"type": "string", "description": text, "enum": [text, "x"]}}
    parameters = {"type": "object", "properties": properties, "required": [text], "default": {text: [text]}}
    tool = {"type": "function", "function": {"name": "f", "description": text, "parameters": parameters}}
    call = {
        "id": text,
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({text: [text, {text: 1}]})},
    }
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": text},
        {"role": "assistant", "content": text, "reasoning_content": text, "tool_calls": [call]},
        {"role": "tool", "content": text, "tool_call_id": text, "name": text},
    ]
    return messages, [tool]


def test_our_template_lists_tools_calls_and_results_in_the_form_of_hermes(tokenizer: Tokenizer) -> None:
    text = rendered(ChatTemplate(tokenizer), TURNS, [WEATHER])
    assert text == (
        "<|im_start|>system\nbe kind\n\n"
        "These functions can be called; each line describes one as JSON.\n"
        f"<tools>\n{json.dumps(WEATHER)}\n</tools>\n"
        "A call is an answer of this form:\n<tool_call>\n"
        '{"name": the name, "arguments": an object with the arguments}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nand the weather<|im_end|>\n"
        "<|im_start|>assistant\n<tool_call>\n"
        '{"name": "weather", "arguments": {"city": "北京"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_without_a_system_turn_the_tools_get_one(tokenizer: Tokenizer) -> None:
    text = rendered(ChatTemplate(tokenizer), TURNS[1:2], [WEATHER])
    assert text.startswith("<|im_start|>system\nThese functions")
    assert text.count("<|im_start|>") == 3


def test_several_calls_stand_on_lines_of_their_own_after_the_content(tokenizer: Tokenizer) -> None:
    messages = [TURNS[1], {"role": "assistant", "content": "so", "tool_calls": [CALL, CALL]}]
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "北京"}}\n</tool_call>'
    text = rendered(ChatTemplate(tokenizer), messages, [])
    assert f"<|im_start|>assistant\nso\n{call}\n{call}<|im_end|>" in text
    assert "<tools>" not in text


def test_a_conversation_without_tools_is_as_before(tokenizer: Tokenizer) -> None:
    template = ChatTemplate(tokenizer)
    plain = template.encode(TURNS[:2], add_generation_prompt=True)
    assert plain == template.encode(TURNS[:2], add_generation_prompt=True, tools=[])
    assert rendered(template, TURNS[:2], []).startswith("<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize("wrap", ["{}", "a{}", "{}b", "a {} b", "{0}{0}", "<|im_{}end|>", '"{}"', "\n{}\\"])
def test_no_text_of_tools_calls_or_results_becomes_a_control_token(
    tokenizer: Tokenizer, tmp_path: Path, wrap: str
) -> None:
    for template in (ChatTemplate(tokenizer), foreign(tokenizer, tmp_path)):
        messages, tools = hostile("x")
        honest = control_ids(tokenizer, template.encode(messages, tools=tools, add_generation_prompt=True))
        for token in tokenizer.added_tokens:
            messages, tools = hostile(wrap.format(token))
            ids = template.encode(messages, tools=tools, add_generation_prompt=True)
            assert control_ids(tokenizer, ids) == honest, token
            assert token in tokenizer.decode(ids)


def test_halves_of_a_control_token_do_not_meet(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = (
        "{% for t in tools %}{{ t.function.description }}"
        "{% for k in t.function.parameters.properties %}{{ k }}{% endfor %}{% endfor %}"
    )
    template = foreign(tokenizer, tmp_path, source)
    for token in tokenizer.added_tokens:
        for cut in range(1, len(token)):
            parameters = {"properties": {token[cut:]: {}}}
            tool = {"type": "function", "function": {"name": "f", "description": token[:cut], "parameters": parameters}}
            ids = template.encode(TURNS[1:2], tools=[tool], add_generation_prompt=False)
            assert control_ids(tokenizer, ids) == [], (token, cut)


def test_names_that_are_added_tokens_are_text_or_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for token in tokenizer.added_tokens:
        with pytest.raises(GenerationError, match="Tool 1 has the name"):
            checked_tools([{"type": "function", "function": {"name": token}}])
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(["some words"], trainer)
    model.add_special_tokens(["<|im_start|>", "<|im_end|>", "CUT", "function", "type"])
    model.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    loaded = Tokenizer.load(tmp_path)
    loaded.chat_template = FOREIGN
    messages, tools = hostile("CUT")
    tools[0]["function"]["name"] = messages[2]["tool_calls"][0]["function"]["name"] = "CUT"
    ids = ChatTemplate(loaded).encode(messages, tools=tools, add_generation_prompt=True)
    assert loaded.added_tokens["CUT"] not in ids
    assert loaded.decode(ids).count("CUT") > 10


def test_a_foreign_template_gets_tools_and_arguments_as_objects(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = (
        "{{ tools | tojson }}{{ messages[2].tool_calls[0].function.arguments.city }}"
        "{{ messages[3].tool_call_id }}{{ messages[2].tool_calls[0].id }}"
    )
    text = rendered(foreign(tokenizer, tmp_path, source), TURNS, [WEATHER])
    assert text == f"{json.dumps([WEATHER])}北京call_1call_1"
    assert rendered(foreign(tokenizer, tmp_path, "{{ tools is none }}"), TURNS, []) == "True"


def test_reasoning_of_earlier_turns_is_there_for_templates_that_show_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = "{{ messages[1].reasoning_content }}{{ messages[0].reasoning_content }}"
    said = [{"role": role, "content": "x", "reasoning_content": "so"} for role in ("user", "assistant")]
    assert rendered(foreign(tokenizer, tmp_path, source), said, []) == "so"


@pytest.mark.parametrize(
    ("ending", "opens"), [("<think>\n", True), ("<think>", True), ("", False), ("<think>\n\n</think>\n\n", False)]
)
def test_a_prompt_that_ends_in_an_open_tag_begins_with_reasoning(
    tokenizer: Tokenizer, tmp_path: Path, ending: str, opens: bool
) -> None:
    template = foreign(tokenizer, tmp_path, f"{{{{ messages[0].content }}}}<|im_start|>assistant\n{ending}")
    ids = template.encode([{"role": "user", "content": "<think> about"}], add_generation_prompt=True)
    assert template.opens_reasoning(ids) == opens


def test_the_mask_covers_calls_and_leaves_out_their_results(tokenizer: Tokenizer) -> None:
    messages = [*TURNS, {"role": "assistant", "content": "yes"}]
    ids, mask = ChatTemplate(tokenizer).encode_with_mask(messages)
    learnt = [token_id for token_id, is_learnt in zip(ids, mask, strict=True) if is_learnt]
    text = tokenizer.decode(learnt)
    assert '{"name": "weather", "arguments": {"city": "北京"}}' in text
    assert "sunny" not in text
    assert "yes" in text
    assert learnt[-1] == tokenizer.eos_id
    assert tokenizer.added_tokens["<tool_call>"] in learnt


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"items": value}
    return value


def circular() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["items"] = value
    return value


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (None, "Tool 1 is no function"),
        ({}, "Tool 1 has the name None"),
        ({"name": ""}, "Tool 1 has the name ''"),
        ({"name": "x" * 65}, "Tool 1 has the name 'xxx"),
        ({"name": "a b"}, "Tool 1 has the name 'a b'"),
        ({"name": "f", "description": 7}, "Tool 1 has description of type int"),
        ({"name": "f", "parameters": "x"}, "Tool 1 has parameters of type str"),
        ({"name": "f", "parameters": nested(64)}, "parameters are nested deeper than 64 levels"),
        ({"name": "f", "parameters": circular()}, "parameters are nested deeper than 64 levels"),
        ({"name": "f", "parameters": {"x": float("nan")}}, "parameters hold nan, which is not JSON"),
        ({"name": "f", "parameters": {"x": {1: 2}}}, "which is not JSON"),
        ({"name": "f", "parameters": {"x": {1, 2}}}, "which is not JSON"),
        ({"name": "f", "description": "x" * MAX_TOOLS_CHARS}, r"The tools are [\d,]+ characters as JSON, over 262,144"),
    ],
)
def test_bad_tools_are_named(function: Any, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        checked_tools([{"type": "function", "function": function}])


def test_tools_are_bounded_and_have_names_of_their_own() -> None:
    with pytest.raises(GenerationError, match="There are 129 tools, the maximum is 128"):
        checked_tools([WEATHER] * 129)
    with pytest.raises(GenerationError, match="Two tools have the name 'weather'"):
        checked_tools([WEATHER, WEATHER])
    with pytest.raises(GenerationError, match="Tool 1 is no function"):
        checked_tools([{**WEATHER, "type": "retrieval"}])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("x", "has tool_calls that are no list"),
        ([{}], "Message 1, tool call 1 has no function"),
        ([{"function": {"name": "a b"}}], "tool call 1 has the name 'a b'"),
        ([{"function": {"name": "f", "arguments": "{"}}], "tool call 1 has arguments that are not JSON"),
        ([{"function": {"name": "f", "arguments": "[" * 100_000}}], "arguments that are not JSON"),
        ([{"function": {"name": "f", "arguments": "[]"}}], "tool call 1 has arguments that are no object"),
        ([{"function": {"name": "f", "arguments": nested(64)}}], "arguments are nested deeper than 64 levels"),
    ],
)
def test_bad_calls_are_named(call: Any, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        checked_messages([{"role": "assistant", "content": "", "tool_calls": call}])


def test_a_tool_of_thousands_of_fields_is_rendered_quickly(tokenizer: Tokenizer) -> None:
    properties = {f"field_{number}": {"type": "string", "description": "what it is"} for number in range(3000)}
    function = {"name": "f", "parameters": {"type": "object", "properties": properties}}
    ids = ChatTemplate(tokenizer).encode(
        TURNS[:2], tools=[{"type": "function", "function": function}], add_generation_prompt=True
    )
    assert "field_2999" in tokenizer.decode(ids)
