"""A Jinja sandbox whose time and memory are bounded: a chat template comes with a model and is foreign code.

Jinja's own sandbox keeps a template away from Python's inside, but lets it loop for ever and fill the
memory. Here a rendering has RENDER_LIMIT_S of its thread's time, looked at on every turn of a loop, call
and filter; and no value may grow beyond MAX_VALUE_SIZE, looked at wherever one is made (+, *, ~, slices, lists,
assignments, calls, filters, blocks) before it does. Of methods and filters only those that chat templates
use are there, so none is left whose result is larger than its input says.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn, cast

import jinja2
import jinja2.ext
import markupsafe
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

RENDER_LIMIT_S = 5.0
# Characters, and ITEM_SIZE for every value in a list, counted as if the value were written out.
MAX_VALUE_SIZE = 4_000_000
MAX_MADE_SIZE = 1 << 28
ITEM_SIZE = 16
MAX_INTEGER_BITS = 1 << 12
MAX_JSON_INDENT = 8

# fmt: off
METHODS: dict[type, frozenset[str]] = {
    str: frozenset([
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit",
        "islower", "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition", "removeprefix",
        "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines",
        "startswith", "strip", "swapcase", "title", "upper",
    ]),
    dict: frozenset(["copy", "get", "items", "keys", "values"]),
    list: frozenset(["copy", "count", "index"]),
    tuple: frozenset(["count", "index"]),
}
FILTERS = frozenset([
    "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "indent",
    "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr",
    "replace", "reverse", "safe", "select", "selectattr", "sort", "string", "title", "tojson", "trim", "unique",
    "upper", "wordcount",
])
# fmt: on


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Compiles templates that can only be run inside `limits()`."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[jinja2.ext.loopcontrols],
            undefined=jinja2.ChainableUndefined,
            optimized=False,  # constants are not computed before the limits hold
            finalize=_finalize,
        )
        self._spent = threading.local()
        own = {"join": self._join, "replace": _replace, "indent": _indent, "tojson": self._to_json}
        filters = {**self.filters, **own, "safe": str, "e": _escape, "escape": _escape}
        self.filters = {name: self._bounded(filters[name]) for name in FILTERS} | {"held": self.held}
        shared = {name: self.globals[name] for name in ("range", "dict", "namespace")}
        self.globals = {**shared, "raise_exception": _raise_exception, "strftime_now": _strftime_now}

    @contextmanager
    def limits(self) -> Iterator[None]:
        """Start the clock and the account of one rendering, in this thread."""
        self._spent.deadline_s = time.thread_time() + RENDER_LIMIT_S
        self._spent.made = 0
        try:
            yield
        finally:
            del self._spent.deadline_s

    def held(self, value: Any) -> Any:
        """The value, counted. Raises SecurityError when a limit is passed."""
        size = _size(value, MAX_VALUE_SIZE)
        if size > MAX_VALUE_SIZE:
            raise SecurityError(f"a value grows beyond {MAX_VALUE_SIZE:,} characters")
        self._spent.made += size
        if self._spent.made > MAX_MADE_SIZE:
            raise SecurityError(f"it makes more than {MAX_MADE_SIZE:,} characters in all")
        if time.thread_time() > self._spent.deadline_s:
            raise SecurityError(f"it runs for more than {RENDER_LIMIT_S:g} seconds")
        return value

    def concat(self, parts: Iterable[str]) -> str:
        """Join the parts of an output, a block or a macro."""
        held: list[str] = []
        size = 0
        for part in parts:
            size += len(part)
            if size > MAX_VALUE_SIZE:
                raise SecurityError(f"it writes more than {MAX_VALUE_SIZE:,} characters")
            held.append(part)
        return str(self.held("".join(held)))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if not isinstance(value, Namespace) or obj is Namespace:
                self.held(value)
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name == "join":
            return self.held(self._join(args[0], owner))
        if isinstance(owner, str) and name == "replace":
            return self.held(_replace(owner, *args, **kwargs))
        result = super().call(context, obj, *args, **kwargs)
        return result if isinstance(result, Namespace) else self.held(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_growth(operator, left, right)
        return self.held(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj).__module__.startswith("jinja2."):
            return super().is_safe_attribute(obj, attr, value)
        return attr in METHODS.get(type(obj), ())

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is not allowed")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` reads attributes by itself and pads to any width: it is not there."""
        if super().wrap_str_format(value) is not None:
            raise SecurityError("'format' of a str is not allowed")
        return None

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template: nodes.Template = _Guards().visit(super()._parse(source, name, filename))
        template.set_environment(self)
        return template

    def _bounded(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """A filter whose arguments and result are counted."""
        has_context = hasattr(run, "jinja_pass_arg")

        @wraps(run)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            for value in (*args[has_context:], *kwargs.values()):
                self.held(value)
            return self.held(run(*args, **kwargs))

        return bounded

    def _join(self, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        parts = [value if attribute is None else self.getitem(value, attribute) for value in values]
        self.held([*parts, len(parts) * len(d) // ITEM_SIZE * [None]])
        return str(d).join(map(str, parts))

    def _to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON as chat templates expect it: Jinja's own filter escapes it for HTML."""
        if indent is not None and indent > MAX_JSON_INDENT:
            raise SecurityError(f"it indents JSON by {indent:,}, over {MAX_JSON_INDENT}")
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        return self.concat(encoder.iterencode(value))


class _Guards(NodeTransformer):
    """Puts a count into every loop and around every value that is kept."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - jinja2 dispatches by the node's name
        self.generic_visit(node)
        if node.recursive:
            raise jinja2.TemplateSyntaxError("recursive loops are not supported", node.lineno)
        node.body.insert(0, nodes.ExprStmt(_held(nodes.Const(None)), lineno=node.lineno))
        if node.test is not None:
            node.test = nodes.And(_held(nodes.Const(True)), node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "join", [], [], None, None, lineno=node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _held(node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Assign:  # noqa: N802
        self.generic_visit(node)
        is_namespace = isinstance(node.node, nodes.Call)  # its arguments are counted by `call`
        node.node = node.node if is_namespace else _held(cast(nodes.Expr, node.node))
        return node

    def visit_With(self, node: nodes.With) -> nodes.With:  # noqa: N802
        self.generic_visit(node)
        node.values = [_held(value) for value in node.values]
        return node

    def visit_List(self, node: nodes.List) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _held(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _held(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _held(node) if node.ctx == "load" else node


def _held(node: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, "held", [], [], None, None, lineno=node.lineno)


@jinja2.pass_context
def _finalize(context: Context, value: Any) -> Any:
    """What is written out, counted."""
    environment = context.environment
    assert isinstance(environment, TemplateSandbox)
    return environment.held(value)


def _size(value: Any, limit: int) -> int:
    """Characters and items of a value as if it were written out; counting ends when `limit` is passed."""
    if isinstance(value, str | bytes):
        return ITEM_SIZE + len(value)
    if isinstance(value, Namespace):
        raise SecurityError("a namespace stands inside another value")
    if isinstance(value, Mapping):
        parts: Iterable[Any] = (part for pair in value.items() for part in pair)
    elif isinstance(value, list | tuple | set):
        parts = value
    else:
        return ITEM_SIZE
    total = ITEM_SIZE
    for part in parts:
        total += _size(part, limit - total)
        if total > limit:
            break
    return total


def _check_growth(operator: str, left: Any, right: Any) -> None:
    """Refuse what would be too large before it is made; + only adds two counted values."""
    if operator == "%" and isinstance(left, str | bytes):
        raise SecurityError("'%' on a str is not allowed")
    if operator == "*" and not (isinstance(left, int | float) and isinstance(right, int | float)):
        if isinstance(left, int):
            left, right = right, left
        if isinstance(right, int) and _size(left, MAX_VALUE_SIZE) * right > MAX_VALUE_SIZE:
            raise SecurityError(f"a value grows beyond {MAX_VALUE_SIZE:,} characters")
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if bits > MAX_INTEGER_BITS:
            raise SecurityError(f"a number grows beyond {MAX_INTEGER_BITS:,} bits")


def _replace(text: Any, old: str, new: str, count: int = -1) -> str:
    text = str(text)
    num_found = text.count(old) if count is None or count < 0 else min(text.count(old), count)
    if len(text) + num_found * (len(new) - len(old)) > MAX_VALUE_SIZE:
        raise SecurityError(f"a value grows beyond {MAX_VALUE_SIZE:,} characters")
    return text.replace(old, new, num_found)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    size = width if isinstance(width, int) else len(width)
    if (text.count("\n") + 1) * size > MAX_VALUE_SIZE:
        raise SecurityError(f"a value grows beyond {MAX_VALUE_SIZE:,} characters")
    return jinja2.filters.do_indent(text, width, first, blank)


def _escape(text: Any) -> str:
    return str(markupsafe.escape(text))


def _raise_exception(message: Any) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form[:100])
