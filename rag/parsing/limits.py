"""What one document may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds for one document; more is a DocumentError.

    Computing time grows with the file, so that a bomb, being small, ends soon. The clock may run `wall_factor` times
    as long, since a busy machine is no fault of the document's.
    """

    base_cpu_s: float = 20.0
    cpu_s_per_mb: float = 15.0
    wall_factor: float = 5.0
    ocr_s: float = 900.0  # in addition, where pages are pictures and tesseract is installed
    memory_bytes: int = 2**30
    file_bytes: int = 256 * 2**20
    expanded_bytes: int = 2**30  # of all members of a zip file
    num_members: int = 20_000
    num_pages: int = 20_000
    num_characters: int = 20_000_000
    num_open_files: int = 64

    def cpu_s(self, file_bytes: int) -> float:
        """Computing time for a file of this size, without OCR."""
        return self.base_cpu_s + self.cpu_s_per_mb * file_bytes / 1e6
