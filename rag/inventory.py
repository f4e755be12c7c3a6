"""Questions about the files themselves, "how many" and "which", answered from the database and not by a model."""

import re
from collections import Counter
from collections.abc import Sequence

from rag.rows import DocumentRow
from rag.text import fold, han_share, terms

MAX_LISTED = 50

_FILES = r"(?:files?|documents?|docs|pdfs?)"
_HOW_MANY = re.compile(
    rf"^\s*how many (?:\w+ ){{0,2}}?{_FILES}\b(?! (?:pages?|words?))|^\s*(?:number|count) of (?:my |the )?{_FILES}\b"
    r"|(?:多少|几)(?:个|份|篇)?(?:文件|文档|资料|pdf)",
    re.IGNORECASE,
)
_WHICH = re.compile(
    rf"^\s*(?:which|what) (?:\w+ ){{0,2}}?{_FILES} "
    r"(?:do (?:i|you|we) have|are (?:there|here|in)|have (?:i|you)|can you)"
    rf"|^\s*(?:list|show)(?: me)?(?: all)?(?: of)?(?: my| the| your)? {_FILES}\b"
    r"|(?:有|列出|显示)(?:哪些|什么|所有的?|全部的?)(?:文件|文档|资料|pdf)|^列出文件",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\b(?:about|named|called|on|mention\w*)\s+(?P<en>.+?)[?.!\s]*$|(?:关于|提到|叫做?)(?P<zh>.+?)的", re.IGNORECASE
)
_KIND = re.compile(r"\b(pdf|docx|pptx|xlsx|csv|html|epub|md|markdown|txt|json)s?\b", re.IGNORECASE)


def inventory(query: str, documents: Sequence[DocumentRow]) -> str | None:
    """The answer, in the language of the question; None if the question is about something else."""
    folded = fold(query)
    is_count = _HOW_MANY.search(folded) is not None
    if not is_count and not _WHICH.search(folded):
        return None
    about = _ABOUT.search(folded)
    topic = next((group for group in about.groups() if group), "") if about else ""
    chosen = [document for document in documents if _is_meant(document, topic, _KIND.search(folded))]
    is_chinese = han_share(query) > 0.2
    return _count(chosen, is_chinese=is_chinese) if is_count else _list(chosen, is_chinese=is_chinese)


def _is_meant(document: DocumentRow, topic: str, kind: re.Match[str] | None) -> bool:
    wanted = terms(topic)
    named = set(terms(f"{document.path.name} {document.title}"))
    is_kind = kind is None or document.path.suffix.lower() == f".{kind[1].lower().replace('markdown', 'md')}"
    return is_kind and all(term in named for term in wanted)


def _count(documents: Sequence[DocumentRow], *, is_chinese: bool) -> str:
    kinds = Counter(document.path.suffix.lstrip(".").lower() or "?" for document in documents)
    parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    failed = sum(bool(document.error) for document in documents)
    if is_chinese:
        unread = f"其中 {failed} 个无法读取。" if failed else ""
        return f"资料库中有 {len(documents)} 个文件" + (f"({parts})。" if parts else "。") + unread
    unread = f" {failed} of them could not be read." if failed else ""
    files = "file" if len(documents) == 1 else "files"
    return f"The library has {len(documents)} {files}" + (f" ({parts})." if parts else ".") + unread


def _list(documents: Sequence[DocumentRow], *, is_chinese: bool) -> str:
    names = "\n".join(f"- {document.path.name}" for document in documents[:MAX_LISTED])
    rest = len(documents) - MAX_LISTED
    more = (f"\n……还有 {rest} 个。" if is_chinese else f"\n… and {rest} more.") if rest > 0 else ""
    return f"{_count(documents, is_chinese=is_chinese)}\n\n{names}{more}".rstrip()
