"""A page that tells what ran in it, what it fetched or tried to, and what of it could do so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.test_markup import COMPOSER, WATCH

SLOW_MS = 60_000
# What would fetch, lead away or run, had it a place in the page; a text that a field holds as its value does not.
REFERENCES = """() => [...document.querySelectorAll("body *")].flatMap((element) =>
    [...element.attributes].filter(({ name, value }) => /evil\\.example|javascript:|__xss/.test(value)
        && !/^(data-|aria-)|^(value|title|placeholder|alt)$/.test(name)
    ).map(({ name, value }) => `${element.localName} ${name}=${value.slice(0, 200)}`))"""
SCRIPTS = "() => [...document.scripts].filter((one) => /__xss|evil/.test(one.text + one.src)).length"
PASS_OVER = """() => {
    document.querySelectorAll("details:not(.menu)").forEach((one) => { one.open = true; });
    for (const element of document.querySelectorAll(":is(#tabs, dialog) :not(input, textarea)"))
        for (const name of ["mouseover", "mouseenter", "pointerover", "focus", "focusin", "animationstart", "toggle"])
            element.dispatchEvent(new Event(name, { bubbles: false }));
}"""


@contextmanager
def watched_page(browser: Browser, address: str, requested: list[str], **options: Any) -> Iterator[Page]:
    """A page in a context with options of Playwright's; the addresses of what it asks for are added to `requested`."""
    context = browser.new_context(**{"locale": "en-US", **options})
    context.add_init_script(f"({WATCH})()")
    page = context.new_page()
    page.set_default_timeout(SLOW_MS)
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address)
    page.wait_for_selector(COMPOSER)
    yield page
    context.close()


def untouched(page: Page, requested: list[str]) -> list[str]:
    """What ran, was fetched elsewhere, was refused by the policy, or stands where it could do so."""
    page.evaluate(PASS_OVER)
    page.wait_for_timeout(300)
    outside = [url for url in requested if "127.0.0.1" not in url.split("?")[0] and not url.startswith("data:")]
    proxied = [url for url in requested if "/gradio_api/" in url and ("file=" in url or "proxy" in url)]
    ran = ["window.__xss is set"] if page.evaluate("window.__xss !== undefined") else []
    scripts = ["a script"] * int(page.evaluate(SCRIPTS))
    refused: list[str] = page.evaluate("window.__refused")
    return [*ran, *scripts, *outside, *proxied, *refused, *page.evaluate(REFERENCES)]
