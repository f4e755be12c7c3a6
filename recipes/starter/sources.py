"""What the starter is pre-trained on: each source with its licence and share.

Only rows whose licence lets a product ship. `share` of the documents is drawn by a hash of their
text, `max_chars` keeps the beginning of a long one (of an encyclopaedia article, the plain part), and
`repeats` writes a small clean source more than once.
"""

from dataclasses import dataclass

WIKIPEDIA = "CC BY-SA 4.0 (Wikipedia)"
GUTENBERG = "public domain (Project Gutenberg)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    path: str  # below the data folder
    language: str
    licence: str
    share: float = 1.0
    max_chars: int = 100_000
    repeats: int = 1


SOURCES = (
    Source(path="en/storybooks-cc-by.jsonl.gz", language="en", licence="CC BY", repeats=2),
    Source(path="en/wikipedia-en-extract.jsonl.gz", language="en", licence=WIKIPEDIA, share=0.95, max_chars=1000),
    Source(path="en/gutenberg-51-books.jsonl.gz", language="en", licence=GUTENBERG, share=0.2, max_chars=12_000),
    Source(path="en/docs-cc-by-4.jsonl.gz", language="en", licence="CC BY 4.0", share=0.4, max_chars=3000),
    Source(path="zh/storybooks-cc-by.jsonl.gz", language="zh", licence="CC BY", repeats=4),
    Source(
        path="zh/wikipedia-zh-extract-simplified-1.jsonl.gz",
        language="zh",
        licence=WIKIPEDIA,
        share=0.95,
        max_chars=520,
    ),
    Source(
        path="zh/wikipedia-zh-extract-simplified-2.jsonl.gz",
        language="zh",
        licence=WIKIPEDIA,
        share=0.95,
        max_chars=520,
    ),
    Source(path="zh/howtocook.tar.gz", language="zh", licence="Unlicense"),
    Source(path="zh/luxun-essays-stories.jsonl.gz", language="zh", licence="public domain", share=0.3, max_chars=4000),
    Source(path="zh/four-classic-novels.jsonl.gz", language="zh", licence="public domain", share=0.06),
    Source(
        path="zh/classical-poetry-primers.jsonl.gz", language="zh", licence="public domain", share=0.3, max_chars=400
    ),
    Source(path="zh/docs-cc-by-4.jsonl.gz", language="zh", licence="CC BY 4.0", share=0.5, max_chars=1500),
    Source(path="parallel/tatoeba-en-zh.jsonl.gz", language="both", licence="CC BY 2.0 FR (Tatoeba)"),
)
