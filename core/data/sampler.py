"""Which rows an optimiser step reads: a pure function of the step, so a run resumes from one integer."""

from collections.abc import Callable


class RowSampler:
    """Counts rows over all epochs: global row 0 is (epoch 0, index 0)."""

    def __init__(self, num_rows: Callable[[int], int], global_batch_size: int) -> None:
        self._num_rows = num_rows
        self._global_batch_size = global_batch_size
        self._first_rows = [0]

    def locate(self, row: int) -> tuple[int, int]:
        """(epoch, index) of a global row."""
        while row >= self._first_rows[-1]:
            epoch = len(self._first_rows) - 1
            self._first_rows.append(self._first_rows[-1] + self._num_rows(epoch))
        epoch = next(i for i in range(len(self._first_rows) - 2, -1, -1) if self._first_rows[i] <= row)
        return epoch, row - self._first_rows[epoch]

    def step_rows(self, step: int) -> list[tuple[int, int]]:
        """The rows of one optimiser step, in order. Steps count from 0."""
        first = step * self._global_batch_size
        return [self.locate(row) for row in range(first, first + self._global_batch_size)]

    def steps_in(self, epochs: float) -> int:
        """Optimiser steps that cover this many epochs, at least one."""
        whole = int(epochs)
        rows = sum(self._num_rows(epoch) for epoch in range(whole)) + (epochs - whole) * self._num_rows(whole)
        return max(int(rows) // self._global_batch_size, 1)
