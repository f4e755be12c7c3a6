"""The list of conversations and the messages as the page shows them: text stays text."""

from app.conversation_rows import Conversation, Found, Kind, Message, Said, State
from app.conversation_view import found_html, list_html, marks_html, shown_messages, undo_html

MARKUP = "<img src=x onerror=alert(1)>\"'"
HOSTILE = Conversation(id="0123456789abcdef", title=MARKUP, created=1.0, updated=1.0, folder=MARKUP)


def message(id_: int, said: Said, *, role: str = "assistant", state: State = State.COMPLETE, of: int = 1) -> Message:
    return Message(id_, None, role, said, state, 1.0, of, of)


def test_what_others_wrote_is_text_everywhere() -> None:
    shown = [
        list_html([HOSTILE], "", "en"),
        found_html([Found(HOSTILE, 1, MARKUP)], "", "zh"),
        undo_html(HOSTILE, "en"),
    ]
    assert all("<img" not in one and 'x onerror=alert(1)>"' not in one for one in shown)
    assert all("&lt;img src=x onerror=alert(1)&gt;" in one for one in shown)


def test_pinned_ones_come_first_then_folders_then_the_last_ones() -> None:
    def one(name: str, **fields: object) -> Conversation:
        return Conversation(id=name, title=name, created=1.0, updated=1.0, **fields)  # type: ignore[arg-type]

    shown = list_html([one("new"), one("inside", folder="f"), one("held", pinned=True, folder="f")], "inside", "en")
    order = [shown.index(f'data-id="{name}"') for name in ("held", "inside", "new")]
    assert order == sorted(order)
    assert 'data-id="inside" data-title="inside" data-folder="f" data-message="" aria-current="true"' in shown
    many = list_html([one(str(number)) for number in range(250)], "", "zh")
    assert (many.count("<li "), "还有 50 个较早的对话" in many) == (200, True)


def test_sources_are_a_message_of_their_own_and_versions_and_ends_are_marked() -> None:
    path = [
        message(3, Said("q"), role="user"),
        message(7, Said("a [1]", sources="1. lease.pdf"), of=2),
        message(9, Said("x", Kind.NOTICE), state=State.INTERRUPTED),
    ]
    shown = shown_messages(path, "en")
    assert shown.ids == [3, 7, None, 9]
    assert [one.get("metadata", {}).get("title") for one in shown.messages] == [None, None, "📄 Sources", "⚠"]
    marks = marks_html("0123456789abcdef", path, shown, "zh")
    assert "{&quot;at&quot;: 1, &quot;message&quot;: 7, &quot;version&quot;: 2, &quot;of&quot;: 2}" in marks
    assert "{&quot;at&quot;: 3, &quot;message&quot;: 9, &quot;note&quot;: &quot;回答中断，未写完&quot;}" in marks
