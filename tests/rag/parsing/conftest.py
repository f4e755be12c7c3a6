"""Readers at hand: in this process for what is safe, in the child for what is not."""

from collections.abc import Callable, Iterator

import pytest

from rag.documents import ParsedDocument
from rag.parsing import Limits, Parser
from rag.parsing.kinds import Source
from rag.parsing.reader import read_document

Read = Callable[[str, bytes], ParsedDocument]


@pytest.fixture
def read() -> Read:
    """A file's name and bytes → the document, without a child process."""
    return lambda name, content: read_document(Source(name, content, Limits()))


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    """One child process for the tests of a file."""
    with Parser() as parser:
        yield parser
