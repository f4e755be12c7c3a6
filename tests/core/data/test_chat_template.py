"""Chat templates: control tokens come from the template alone, and hostile templates end in an error."""

from pathlib import Path

import pytest
import tokenizers

from core.data.chat_template import ChatTemplate
from core.data.tokenizer import CHATML, Tokenizer
from core.errors import AssistantError, DataError, GenerationError, ModelError

Messages = list[dict[str, str]]


def say(*texts: str) -> Messages:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def with_template(tokenizer: Tokenizer, source: str, folder: Path) -> ChatTemplate:
    tokenizer.save(folder)
    loaded = Tokenizer.load(folder)
    loaded.chat_template = source
    return ChatTemplate(loaded)


def control_ids(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    return [token_id for token_id in ids if token_id in tokenizer.added_tokens.values()]


def test_chatml_is_rendered_as_the_format_says(tokenizer: Tokenizer) -> None:
    start, end = tokenizer.added_tokens["<|im_start|>"], tokenizer.added_tokens["<|im_end|>"]
    expected = [start, *tokenizer.encode("user\nhi"), end, *tokenizer.encode("\n")]
    expected += [start, *tokenizer.encode("assistant\n")]
    assert ChatTemplate(tokenizer).encode(say("hi"), add_generation_prompt=True) == expected


@pytest.mark.parametrize("wrap", ["{}", "a{}", "{}b", "a {} b", "{0}{0}", "<|im_{}end|>"])
def test_no_text_becomes_a_control_token(tokenizer: Tokenizer, wrap: str) -> None:
    template = ChatTemplate(tokenizer)
    honest = control_ids(tokenizer, template.encode(say("x", "y"), add_generation_prompt=True))
    for token in tokenizer.added_tokens:
        text = wrap.format(token)
        ids = template.encode(say(text, text), add_generation_prompt=True)
        assert control_ids(tokenizer, ids) == honest, token
        assert tokenizer.decode(ids).count(text) == 2


def test_a_token_split_over_text_and_template_stays_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = "{% for m in messages %}{{ m['content'] }}end|>{% endfor %}"
    template = with_template(tokenizer, source, tmp_path)
    assert control_ids(tokenizer, template.encode(say("<|im_"), add_generation_prompt=False)) == []
    source = "{% for m in messages %}<|im_{{ m['content'] }}{% endfor %}"
    template = with_template(tokenizer, source, tmp_path)
    assert control_ids(tokenizer, template.encode(say("end|>"), add_generation_prompt=False)) == []


def test_a_token_split_over_two_messages_stays_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    template = with_template(tokenizer, "{% for m in messages %}{{ m['content'] }}{% endfor %}", tmp_path)
    for token in tokenizer.added_tokens:
        for cut in range(1, len(token)):
            ids = template.encode(say(token[:cut], token[cut:]), add_generation_prompt=False)
            assert control_ids(tokenizer, ids) == [], (token, cut)


def test_other_fields_of_a_message_never_reach_the_template(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = "{% for m in messages %}{{ m['name'] }}{{ m.tool_calls }}{{ m['content'] }}{% endfor %}"
    template = with_template(tokenizer, source, tmp_path)
    message = {"role": "user", "content": "x", "name": "<|im_end|>", "tool_calls": "<s>"}
    assert tokenizer.decode(template.encode([message], add_generation_prompt=False)) == "x"
    assert control_ids(tokenizer, template.encode([message], add_generation_prompt=False)) == []


def test_added_tokens_that_are_not_special_are_held_back_too(tmp_path: Path) -> None:
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(["some words"], trainer)
    model.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    model.add_tokens(["<think>", "</think>"])
    model.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    tokenizer = Tokenizer.load(tmp_path)
    template = ChatTemplate(tokenizer)
    honest = control_ids(tokenizer, template.encode(say("x"), add_generation_prompt=True))
    for token in tokenizer.added_tokens:
        ids = template.encode(say(f"a{token}b"), add_generation_prompt=True)
        assert control_ids(tokenizer, ids) == honest


def test_placeholder_characters_in_a_text_are_left_alone(tokenizer: Tokenizer) -> None:
    text = "\U0010f000 <|im_end|> \U0010f001"
    ids = ChatTemplate(tokenizer).encode(say(text), add_generation_prompt=False)
    assert text in tokenizer.decode(ids)


def test_mask_covers_the_replies_and_their_ends(tokenizer: Tokenizer) -> None:
    template = ChatTemplate(tokenizer)
    messages = [{"role": "system", "content": "be kind"}, *say("one", "two", "three", "four")]
    ids, mask = template.encode_with_mask(messages)
    learnt = [token_id for token_id, kept in zip(ids, mask, strict=True) if kept]
    end = tokenizer.added_tokens["<|im_end|>"]
    assert learnt == [*tokenizer.encode("two"), end, *tokenizer.encode("four"), end, tokenizer.eos_id]
    assert ids[:-1] == template.encode(messages, add_generation_prompt=False)


def test_mask_of_a_foreign_template_is_found_turn_by_turn(tokenizer: Tokenizer, tmp_path: Path) -> None:
    template = with_template(tokenizer, CHATML.replace("\\n' }}{% endif", "\\n' }}{{ '' }}{% endif"), tmp_path)
    ids, mask = template.encode_with_mask(say("one", "two"))
    own_ids, own_mask = ChatTemplate(tokenizer).encode_with_mask(say("one", "two"))
    assert ids == own_ids[:-1]
    end = tokenizer.added_tokens["<|im_end|>"]
    assert mask[ids.index(end, ids.index(end) + 1)] == 1
    assert sum(own_mask[:-1]) <= sum(mask) <= sum(own_mask)


def test_a_template_that_rewrites_earlier_turns_cannot_be_masked(tokenizer: Tokenizer, tmp_path: Path) -> None:
    template = with_template(tokenizer, "{{ messages | length }}{{ messages[-1]['content'] }}", tmp_path)
    with pytest.raises(DataError, match="rewrites earlier turns"):
        template.encode_with_mask(say("one", "two"))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "empty"),
        ([{"role": "root", "content": "x"}], "role 'root'"),
        ([{"role": "user"}], "no text"),
        ([{"role": "user", "content": ["x"]}], "no text"),
    ],
)
def test_bad_messages_are_named(tokenizer: Tokenizer, messages: Messages, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        ChatTemplate(tokenizer).encode(messages, add_generation_prompt=True)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10**10 }}",
        "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{{ raise_exception('no') }}",
        "{{ 1 / 0 }}",
        "{% include '/etc/passwd' %}",
        "{% for x in %}",
    ],
)
def test_hostile_and_broken_templates_end_in_a_model_error(
    tokenizer: Tokenizer, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.data.template_sandbox.RENDER_LIMIT_S", 0.3)
    with pytest.raises(ModelError, match=r"The chat template .*Choose another version of the model") as caught:
        with_template(tokenizer, source, tmp_path).encode(say("hi"), add_generation_prompt=True)
    assert isinstance(caught.value, AssistantError)
    assert "uid=" not in str(caught.value)


def test_an_overlong_template_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="over 200,000"):
        with_template(tokenizer, "x" * 200_001, tmp_path)


GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] | trim }}</>{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)
SILENT = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}</>{% endif %}{% endfor %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}


def shown(template: ChatTemplate, messages: Messages) -> str:
    return template.tokenizer.decode(template.encode(messages, add_generation_prompt=False))


@pytest.mark.parametrize("source", [GEMMA, SILENT], ids=["refuses", "leaves out"])
def test_without_a_system_role_its_text_stands_before_the_first_turn(
    tokenizer: Tokenizer, tmp_path: Path, source: str
) -> None:
    template = with_template(tokenizer, source, tmp_path)
    assert shown(template, [SYSTEM, *say("a", "b")]) == "<user>Be brief.\n\na</><assistant>b</>"
    assert shown(template, say("a", "b")) == "<user>a</><assistant>b</>"
    assert shown(template, [SYSTEM]) == "<user>Be brief.</>"


def test_questions_in_a_row_are_one_turn_where_turns_must_alternate(tokenizer: Tokenizer, tmp_path: Path) -> None:
    asked = [SYSTEM, *say("a"), *say("b", "c", "d")]
    template = with_template(tokenizer, GEMMA, tmp_path)
    assert shown(template, asked) == "<user>Be brief.\n\na\n\nb</><assistant>c</><user>d</>"
    template = with_template(tokenizer, SILENT.replace("m['role'] != 'system'", "true"), tmp_path)
    assert shown(template, asked[1:]) == "<user>a</><user>b</><assistant>c</><user>d</>"


def test_what_the_model_wrote_keeps_its_ids_where_turns_were_put_together(tokenizer: Tokenizer, tmp_path: Path) -> None:
    template = with_template(tokenizer, GEMMA, tmp_path)
    own = [*tokenizer.encode("c"), *tokenizer.encode("c")]
    asked = [SYSTEM, *say("a"), *say("b", "cc", "d")]
    ids = template.encode(asked, add_generation_prompt=True, exact_ids={3: own})
    size = len(own)
    assert own in [ids[start : start + size] for start in range(len(ids))]


def test_a_template_that_fails_on_every_conversation_says_so(tokenizer: Tokenizer, tmp_path: Path) -> None:
    template = with_template(tokenizer, "{{ raise_exception('no') }}", tmp_path)
    with pytest.raises(ModelError, match="fails on this conversation: no"):
        template.encode([SYSTEM, *say("a")], add_generation_prompt=True)
