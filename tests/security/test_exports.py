"""No table is written that a spreadsheet would open and obey: cells that begin with = + - @ are formulas there."""

import re

from tests.conftest import ROOT

WRITES_TABLES = re.compile(r"csv\.(writer|DictWriter)|\b(to|write)_(csv|excel)\(|text/csv|ms-excel|spreadsheetml")
PLACES = ("app", "core", "rag", "studio", "recipes")


def test_no_export_is_a_spreadsheet() -> None:
    """Who adds one has cells to quote, and a test of that to write in the place of this one."""
    files = [path for name in PLACES for ending in ("*.py", "*.js") for path in (ROOT / name).rglob(ending)]
    assert len(files) > 300
    found = [str(path.relative_to(ROOT)) for path in files if WRITES_TABLES.search(path.read_text(encoding="utf-8"))]
    assert [path for path in found if not path.startswith("rag/parsing/")] == []  # which reads them
