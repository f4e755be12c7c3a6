"""What the embedder is trained on: rows of the data's manifest whose licence lets a product ship."""

from dataclasses import dataclass

WIKIPEDIA = "CC BY-SA 3.0/4.0 (Wikipedia)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    path: str  # below the data folder
    language: str
    licence: str
    max_documents: int = 1_000_000


# Documents of many paragraphs.
ARTICLES = (
    Source(path="pretrain/en/wikipedia-en-extract.jsonl.gz", language="en", licence=WIKIPEDIA),
    Source(path="pretrain/en/docs-cc-by-4.jsonl.gz", language="en", licence="CC BY 4.0"),
    Source(path="pretrain/en/d2l-en-markdown.tar.gz", language="en", licence="CC BY-SA 4.0"),
    Source(path="pretrain/en/python-peps.tar.gz", language="en", licence="public domain / CC0-1.0"),
    Source(
        path="pretrain/en/gutenberg-51-books.jsonl.gz",
        language="en",
        licence="public domain in the USA (Project Gutenberg)",
        max_documents=600,
    ),
    Source(path="pretrain/zh/wikipedia-zh-extract-simplified-1.jsonl.gz", language="zh", licence=WIKIPEDIA),
    Source(path="pretrain/zh/wikipedia-zh-extract-simplified-2.jsonl.gz", language="zh", licence=WIKIPEDIA),
    Source(path="pretrain/zh/docs-cc-by-4.jsonl.gz", language="zh", licence="CC BY 4.0"),
    Source(path="pretrain/zh/d2l-zh-markdown.tar.gz", language="zh", licence="Apache-2.0"),
    Source(path="pretrain/zh/howtocook.tar.gz", language="zh", licence="Unlicense"),
    Source(path="pretrain/zh/prc-laws.tar.gz", language="zh", licence="public domain (PRC laws)"),
    Source(path="pretrain/zh/luxun-essays-stories.jsonl.gz", language="zh", licence="public domain"),
)
# Rows {en, zh} that say the same.
PARALLEL = (
    Source(path="pretrain/parallel/tatoeba-en-zh.jsonl.gz", language="both", licence="CC BY 2.0 FR (Tatoeba)"),
    Source(
        path="pretrain/parallel/docs-en-zh-aligned.jsonl.gz",
        language="both",
        licence="CC BY 4.0; CC BY-SA 4.0; MIT/Apache-2.0; CC BY",
    ),
)
# Rows {instruction, input, output}.
QUESTIONS = (
    Source(path="sft/en/wikipedia-en-intro-qa.jsonl.gz", language="en", licence=WIKIPEDIA),
    Source(path="sft/zh/wikipedia-zh-intro-qa.jsonl.gz", language="zh", licence=WIKIPEDIA),
    Source(path="sft/en/rasbt-instruction-data.json", language="en", licence="Apache-2.0"),
    Source(path="sft/en/llamafactory-alpaca_en_demo.json", language="en", licence="Apache-2.0"),
    Source(path="sft/zh/llamafactory-alpaca_zh_demo.json", language="zh", licence="Apache-2.0"),
    Source(path="sft/zh/extra-terms-152.json", language="zh", licence="MIT"),
    Source(path="sft/zh/cooking-and-stories.jsonl.gz", language="zh", licence="Unlicense; CC BY"),
)
SOURCES = (*ARTICLES, *PARALLEL, *QUESTIONS)
