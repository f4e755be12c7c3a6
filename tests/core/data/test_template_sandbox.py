"""The sandbox of chat templates: what real templates use works, and nothing hangs or fills the memory."""

import contextlib
import time
import tracemalloc

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import SecurityError

from core.data.template_sandbox import TemplateSandbox

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]


def render(source: str, **values: object) -> str:
    sandbox = TemplateSandbox()
    template = sandbox.from_string(source)
    with sandbox.limits():
        return sandbox.concat(template.generate(messages=MESSAGES, **values))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}{{ loop.index }}{{ m.role }}{{ ',' if loop.first }}{% endfor %}", "1user,2assistant"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% for m in messages if m.role == 'user' %}{{ m['content'] }}{% endfor %}", "hi"),
        ("{% for m in messages %}{% if loop.index0 %}{% break %}{% endif %}{{ m.content }}{% endfor %}", "hi"),
        ("{% macro say(m) %}[{{ m.content | trim }}]{% endmacro %}{{ say(messages[-1]) }}", "[yo]"),
        ("{{ 'a' ~ 1 ~ none ~ messages[0].content }}", "a1Nonehi"),
        ("{{ messages | map(attribute='role') | join(', ') }}", "user, assistant"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ '</think>'.join(['a', 'b']).split('</think>')[-1].strip('\\n') }}", "b"),
        ("{{ 'a-b-c'.replace('-', '+', 1) }}{{ 'aXb' | replace('X', '') }}", "a+b-cab"),
        ("{{ {'a': '<é>', 'b': [1, true]} | tojson }}", '{"a": "<é>", "b": [1, true]}'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{% for k, v in {'x': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "x=1"),
        ("{% set a, b = 1, 2 %}{{ (a, b) }}", "(1, 2)"),
        ("{{ messages[::-1][0].content }}{{ messages[1:] | length }}", "yo1"),
        ("{% if x is defined and x %}x{% endif %}{{ tools.missing.deep }}{{ 7 % 4 }}{{ 2 ** 5 }}", "332"),
        ("{{ 'a\\nb' | indent(2) }}{{ '<' | e }}", "a\n  b&lt;"),
        ("{% set text %}{{ 1 }}-{{ 2 }}{% endset %}{{ text }}", "1-2"),
        ("{{ range(3) | list }}{{ '=' * 3 }}{{ [1] + [2] }}", "[0, 1, 2]===[1, 2]"),
        ("{% with a = 'b' %}{{ a }}{% endwith %}{{ strftime_now('%Y') | length }}", "b4"),
    ],
)  # fmt: skip
def test_what_chat_templates_use_works(source: str, expected: str) -> None:
    assert render(source) == expected


EXPECTED = (
    SecurityError, jinja2.TemplateError, TypeError, LookupError, ZeroDivisionError, OverflowError, RecursionError,
)  # fmt: skip
HOSTILE = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(a=1) }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "{{ ''['format'](1) }}",
    "{{ ('' | attr('format'))(1) }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ 'x' * 10 ** 10 }}",
    "{{ 10 ** 10 * ['x'] }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ (9 ** 999) * (9 ** 999) * (9 ** 999) }}",
    "{{ 'x'.center(10 ** 10) }}",
    "{{ 'x'.ljust(10 ** 10) }}",
    "{{ 'x'.zfill(10 ** 10) }}",
    "{{ 'x' | center(10 ** 10) }}",
    "{{ 'x' | indent(10 ** 10) }}",
    "{{ [1] | tojson(indent=10 ** 10) }}",
    "{{ (1).to_bytes(10 ** 10, 'big') }}",
    "{{ lipsum(n=10 ** 9) }}",
    "{{ range(10 ** 10) | list }}",
    "{% for i in range(10 ** 9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999) | list | length }}{% endfor %}",
    "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=0) %}{% for i in range(99) %}{% set ns.x = {1: ns.x, 2: ns.x} %}{% endfor %}",
    "{% set ns = namespace(x=0) %}{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}",
    "{% set ns = namespace(x=0) %}{% for i in range(99) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}",
    "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
    "{% set a = namespace() %}{% set b = namespace(x=a, y=a) %}{{ b }}",
    "{% set x = 'a' * 400000 %}{{ x.replace('a', x) }}",
    "{% set x = 'a' * 400000 %}{{ x | replace('a', x) }}",
    "{% set x = 'a' * 400000 %}{{ x.join(x) }}",
    "{% set x = 'a' * 400000 %}{{ x | join(x) }}",
    "{% set x = 'a' * 400000 %}{% set y %}{{ x }}{{ x }}{{ x }}{{ x }}{{ x }}{{ x }}{% endset %}",
    "{% set x = 'a' * 400000 %}{{ x ~ x ~ x ~ x ~ x ~ x }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(200) }}",
    "{% for x in [[]] recursive %}{{ loop([x, x]) }}{% endfor %}",
    "{{ 'a'.encode() }}",
    "{{ raise_exception('no') }}",
    "{{ 1 / 0 }}",
    "{% include '/etc/passwd' %}",
    "{% for x in %}",
    "{{" + "(" * 3000 + ")" * 3000 + "}}",
]  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_templates_end_soon_and_small(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.template_sandbox.RENDER_LIMIT_S", 0.3)
    monkeypatch.setattr("core.data.template_sandbox.MAX_VALUE_SIZE", 2_000_000)
    tracemalloc.start()
    begin = time.thread_time()
    with pytest.raises(EXPECTED):
        render(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    assert time.thread_time() - begin < 3


STEPS = (
    "x",
    "x + x",
    "x ~ x",
    "x * 9",
    "[x, x]",
    "{1: x, 2: x}",
    "x | join(x)",
    "x | tojson",
    "x[1:]",
    "(x, x)",
    "x | list",
)
SNIPPETS = st.sampled_from(STEPS)


@settings(max_examples=40, deadline=None)
@given(st.lists(SNIPPETS, min_size=1, max_size=60))
def test_no_chain_of_steps_makes_a_value_beyond_the_limit(steps: list[str]) -> None:
    body = "".join("{% set x = " + step + " %}" for step in steps)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(*EXPECTED):
        patch.setattr("core.data.template_sandbox.MAX_VALUE_SIZE", 100_000)
        assert len(render("{% set x = 'ab' %}" + body + "{{ x }}")) <= 100_000


def test_limits_are_of_one_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.template_sandbox.MAX_MADE_SIZE", 5000)
    sandbox = TemplateSandbox()
    template = sandbox.from_string("{{ 'x' * 1000 }}")
    for _ in range(20):
        with sandbox.limits():
            assert len(sandbox.concat(template.generate())) == 1000


def test_slices_of_a_long_value_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.template_sandbox.MAX_MADE_SIZE", 1_000_000)
    source = "{% set x = 'ab' * 50000 %}" + "{% if x[::2][::-1] is eq 'a' %}{% endif %}" * 400
    with pytest.raises(SecurityError, match="it makes more than 1,000,000 characters in all"):
        render(source)
