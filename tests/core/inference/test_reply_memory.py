"""Replies keep the ids they were written in, and nothing else becomes ids."""

import pytest

from core.data.chat_template import ChatTemplate
from core.data.tokenizer import Tokenizer
from core.inference.reply_memory import ReplyMemory

QUESTION = [{"role": "user", "content": "the fox"}]


def answered(text: str) -> list[dict[str, str]]:
    return [*QUESTION, {"role": "assistant", "content": text}, {"role": "user", "content": "and then"}]


def test_a_reply_is_found_by_the_conversation_before_it_and_its_text() -> None:
    memory = ReplyMemory()
    memory.remember(QUESTION, "a dog", [5, 6, 7])
    assert {index: list(ids) for index, ids in memory.find(answered("a dog")).items()} == {1: [5, 6, 7]}
    assert memory.find(answered("a dog ")) == {}
    assert memory.find([{"role": "user", "content": "other"}, *answered("a dog")[1:]]) == {}
    as_user = [*QUESTION, {"role": "user", "content": "a dog"}]
    assert memory.find(as_user) == {}


def test_the_least_recently_used_replies_are_forgotten_beyond_the_bound() -> None:
    memory = ReplyMemory(max_tokens=10)
    memory.remember(QUESTION, "one", [1] * 4)
    memory.remember(QUESTION, "two", [2] * 4)
    memory.find(answered("one"))
    memory.remember(QUESTION, "three", [3] * 4)
    assert [bool(memory.find(answered(text))) for text in ("one", "two", "three")] == [True, False, True]
    memory.remember(QUESTION, "too long", [4] * 11)
    assert [bool(memory.find(answered(text))) for text in ("one", "too long")] == [True, False]


def spelt(tokenizer: Tokenizer, text: str) -> list[int]:
    """A spelling of a text, character by character, that the tokenizer would not choose."""
    ids = [token for character in text for token in tokenizer.encode(character)]
    assert ids != tokenizer.encode(text)
    return ids


def test_known_ids_stand_in_the_place_of_the_text(tokenizer: Tokenizer) -> None:
    template = ChatTemplate(tokenizer)
    ids = spelt(tokenizer, "the quick brown fox")
    messages = answered("the quick brown fox")
    plain = template.encode(messages, add_generation_prompt=True)
    exact = template.encode(messages, add_generation_prompt=True, exact_ids={1: ids})
    opening = template.encode(QUESTION, add_generation_prompt=True)
    assert exact[: len(opening)] == plain[: len(opening)] == opening
    assert exact[len(opening) : len(opening) + len(ids)] == ids
    assert exact[len(opening) + len(ids) :] == plain[len(opening) + len(tokenizer.encode("the quick brown fox")) :]
    assert tokenizer.decode(exact) == tokenizer.decode(plain)


TRIMS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
DROPS = TRIMS.replace("m['content'] | trim", "m['content'].split('###')[-1]")


@pytest.mark.parametrize(("template", "is_exact"), [(TRIMS, True), (DROPS, False)])
def test_a_stripped_reply_keeps_its_ids_and_one_that_the_template_cuts_does_not(
    tokenizer: Tokenizer, template: str, is_exact: bool
) -> None:
    settings = {**tokenizer._settings, "chat_template": template}
    other = ChatTemplate(Tokenizer(tokenizer._backend, added_tokens=tokenizer.added_tokens, settings=settings))
    text = " a thought### the quick brown fox"
    ids = spelt(tokenizer, text)
    messages = [*answered(text)]
    exact = other.encode(messages, add_generation_prompt=False, exact_ids={1: ids})
    plain = other.encode(messages, add_generation_prompt=False)
    assert (str(ids)[1:-1] in str(exact)) == is_exact
    assert is_exact or exact == plain


def test_a_private_use_character_of_a_user_is_no_stand_in(tokenizer: Tokenizer) -> None:
    template = ChatTemplate(tokenizer)
    for character in ("\U0010f000", "\U0010f001", "\U0010f002"):
        messages = [{"role": "user", "content": f"<s>{character}"}, *answered("the fox sleeps")[1:]]
        ids = spelt(tokenizer, "the fox sleeps")
        exact = template.encode(messages, add_generation_prompt=True, exact_ids={1: ids})
        assert tokenizer.decode(exact) == tokenizer.decode(template.encode(messages, add_generation_prompt=True))
        assert str(exact).count(str(ids)[1:-1]) == 1
        assert tokenizer.bos_id not in exact
