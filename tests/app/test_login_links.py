"""A second start's link opens the page once, for a minute, at its own port, and only with the installation's secret."""

import time

import pytest

from app.login_links import VALID_S, LoginLinks, login_token


def test_a_link_opens_once() -> None:
    links, token = LoginLinks("secret", 7860), login_token("secret", 7860)
    assert (links.take(token), links.take(token)) == (True, False)
    assert links.take(login_token("secret", 7860))


@pytest.mark.parametrize(
    "token",
    [login_token("other", 7860), login_token("secret", 7861), "", "..", "1.x", "١.a.b"],
    ids=["other secret", "other port", "empty", "dots", "no time", "other digits"],
)
def test_other_secrets_ports_and_nonsense_do_not_open(token: str) -> None:
    assert not LoginLinks("secret", 7860).take(token)


@pytest.mark.parametrize("after_s", [VALID_S + 2, -VALID_S - 2])
def test_an_old_link_and_one_of_the_future_do_not_open(after_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = login_token("secret", 7860), time.time()
    monkeypatch.setattr("app.login_links.time.time", lambda: now + after_s)
    assert not LoginLinks("secret", 7860).take(token)


def test_a_changed_time_breaks_the_signature() -> None:
    made, _, rest = login_token("secret", 7860).partition(".")
    assert not LoginLinks("secret", 7860).take(f"{int(made) + 1}.{rest}")
