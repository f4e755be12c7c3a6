"""From a folder or a hub name to an embedder."""

from pathlib import Path

from core.errors import ModelError
from core.files import read_json_object
from rag.embedding.protocol import Embedder
from rag.embedding.static import CONFIG_FILE, FORMAT, StaticEmbedder

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "models" / "embedder"


def load_embedder(path_or_name: str | Path | None = None) -> Embedder:
    """The embedder in a folder, or of a hub name; None means the one that comes with the program.

    A hub name is looked up on this machine and never fetched. Raises: ModelError for what is missing, unsafe or broken.
    """
    folder = DEFAULT_FOLDER if path_or_name is None else Path(path_or_name).expanduser()
    if not folder.is_dir():
        if path_or_name is None:
            raise ModelError(
                "{folder} is missing: the embedder of the library.", "Clone the repository again.", folder=folder
            )
        if isinstance(path_or_name, Path) or not _is_hub_name(path_or_name):
            raise ModelError(
                "{folder} is no folder.", "Give an embedder's folder, or a hub name like owner/name.", folder=folder
            )
        folder = _snapshot(path_or_name)
    elif is_static(folder):
        return StaticEmbedder(folder)
    from rag.embedding.sentence_transformer import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(folder)


def is_static(folder: Path) -> bool:
    """Whether a folder says that it is a static embedder of ours."""
    config = folder / CONFIG_FILE
    return config.is_file() and read_json_object(config, ModelError).get("format") == FORMAT


def _is_hub_name(name: str) -> bool:
    owner, _, model = name.partition("/")
    return all(part and part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in (owner, model))


def _snapshot(name: str) -> Path:
    from rag.embedding.sentence_transformer import snapshot

    return snapshot(name)
