"""Remarks: a code and values that survive the child's pipe and the database, and nothing else does."""

import pytest

from core.errors import DocumentError
from rag.remarks import RefusedError, Remark


def test_a_remark_survives_its_json() -> None:
    remark = Remark("pictures", {"count": 12, "total": 14}, "扫描.pdf")
    assert Remark.from_json(remark.to_json()) == remark
    assert str(remark).startswith("扫描.pdf: it is images without text (12 of 14 pages). Install tesseract")


@pytest.mark.parametrize(
    "text",
    [
        "It was said by another version.",
        "[]",
        "7",
        '{"code": "no such code", "values": {}}',
        '{"code": "pictures", "values": {"count": 1}}',
        '{"code": "pictures", "values": {"count": [1], "total": {}}}',
        '{"code": "too_many_pages", "values": {"count": "many", "most": "more"}}',
        '{"code": ["pictures"], "values": {}}',
    ],
)
def test_what_is_no_remark_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no remark|Expecting|text and no numbers|format code|Cannot specify"):
        Remark.from_json(text)


def test_a_refusal_is_a_document_error_that_names_its_file() -> None:
    refusal = RefusedError("too_many_pages", count=30_000, most=20_000).about("lease.pdf")
    assert isinstance(refusal, DocumentError)
    assert refusal.message == "lease.pdf: it has 30,000 pages; at most 20,000 are read."
    assert refusal.remedy == "Split it."
    assert refusal.remark.file == "lease.pdf"
