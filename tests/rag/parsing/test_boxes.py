"""Which boxes a passage covers."""

import pytest

from rag.documents import Box, Line
from rag.parsing import passage_boxes

LINES = (
    Line(0, 10, 1, Box(100, 100, 200, 110)),
    Line(11, 21, 1, Box(100, 115, 200, 125)),
    Line(23, 33, 2, Box(100, 100, 200, 110)),
)


def test_a_passage_has_a_box_for_each_line_it_covers() -> None:
    assert passage_boxes(LINES, 0, 33) == [(line.page, line.box) for line in LINES]
    assert passage_boxes(LINES, 10, 11) == []
    assert passage_boxes((), 0, 5) == []


def test_a_line_covered_in_part_gives_its_share() -> None:
    (page, box), (_, last) = passage_boxes(LINES, 5, 13)
    assert (page, box) == (1, Box(150, 100, 200, 110))
    assert (last.left, last.right) == (100, pytest.approx(120))


def test_a_chinese_character_is_wider_than_a_letter() -> None:
    ((_, box),) = passage_boxes(LINES[:1], 0, 2, "汉字abcdefgh")
    assert box.right == pytest.approx(100 + 100 * 4 / 11.2, abs=2)


def test_arabic_runs_from_the_right() -> None:
    ((_, box),) = passage_boxes(LINES[:1], 0, 5, "ابتثجحخدذر")
    assert (box.left, box.right) == (pytest.approx(150), pytest.approx(200))


def test_words_with_boxes_of_their_own_are_one_box_where_they_stand_in_a_row() -> None:
    words = (
        Line(0, 4, 1, Box(10, 10, 40, 20)),
        Line(5, 9, 1, Box(44, 10, 80, 20)),
        Line(10, 14, 1, Box(10, 24, 40, 34)),
    )
    assert passage_boxes(words, 0, 14) == [(1, Box(10, 10, 80, 20)), (1, Box(10, 24, 40, 34))]


def test_words_that_run_upwards_are_one_box() -> None:
    words = (Line(0, 9, 1, Box(10, 100, 20, 160)), Line(10, 19, 1, Box(10, 40, 20, 96)))
    assert passage_boxes(words, 0, 19) == [(1, Box(10, 40, 20, 160))]
