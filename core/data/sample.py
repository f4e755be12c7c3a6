"""A sample of files' texts, for learning a vocabulary from."""

from collections.abc import Iterable, Iterator

from core.data.formats import UnrecognisedError, recognise
from core.data.readers import is_readable_name, read_file
from core.data.streams import InputFile


def sample_texts(found: Iterable[InputFile], max_chars: int) -> Iterator[str]:
    """Texts of every readable file, each file giving its share of `max_chars` by its size on disk."""
    sizes = {file: file.path.stat().st_size for file in found if is_readable_name(file.name)}
    total = sum(sizes.values())
    for file, size in sizes.items():
        left = max_chars * size // max(total, 1)
        for text in _texts(file):
            yield text[:left]
            left -= len(text)
            if left <= 0:
                break


def _texts(file: InputFile) -> Iterator[str]:
    """The text of each record that is an example; what cannot be read is reported by `prepare`."""
    for record in read_file(file, lambda *_: None, lambda _: None):
        try:
            yield recognise(record.value).key()
        except UnrecognisedError:
            continue
