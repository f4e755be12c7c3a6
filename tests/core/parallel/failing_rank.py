"""A program whose second rank fails while the first waits for it."""

from contextlib import suppress

from core.errors import DataError, TrainingError
from core.parallel.setup import join_ranks


def main() -> int:
    with suppress(TrainingError, DataError), join_ranks("cpu") as ranks:
        if not ranks.is_first:
            raise DataError("Row 7 is bad.", "Mend it.")
        ranks.barrier()
        return 0
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
