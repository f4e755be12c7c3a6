"""A cross-encoder as a second look at the first results: better order, at the price of a model's pass for each."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import ModelError
from rag.embedding.sentence_transformer import REMEDY, check_is_safe


class CrossEncoderReranker:
    """A sentence-transformers cross-encoder in a local folder. Its weights are safetensors, and nothing is fetched."""

    def __init__(self, folder: str | Path) -> None:
        """Raises: ModelError for a folder that is unsafe or that the library cannot load."""
        path = Path(folder).expanduser()
        check_is_safe(path)
        from sentence_transformers import CrossEncoder
        from torch.nn import Sigmoid

        try:
            self._model: CrossEncoder = CrossEncoder(
                str(path),
                num_labels=1,
                activation_fn=Sigmoid(),
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as exc:  # whatever a broken folder makes the libraries raise
            reason = (str(exc).splitlines() or [type(exc).__name__])[0]
            raise ModelError("{folder} cannot be loaded: {reason}", REMEDY, folder=path, reason=reason) from exc

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """How well each passage answers, from 0 to 1."""
        pairs = [(query, passage) for passage in passages]
        return [float(score) for score in self._model.predict(pairs, show_progress_bar=False)] if pairs else []
