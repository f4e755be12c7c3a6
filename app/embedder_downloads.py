"""Embedders from the hub: fetched when the user asks, and then what the library searches by meaning with."""

import logging
import threading

from app.downloads import Download, Downloads, DownloadState
from app.library import Library
from core.errors import AssistantError, ConfigError, ModelError
from core.hub.places import EMBEDDER, HubName, find_downloaded

logger = logging.getLogger(__name__)


class EmbedderDownloads:
    """The downloads that are embedders. Methods may be called from any thread."""

    def __init__(self, library: Library, downloads: Downloads) -> None:
        self._library, self._downloads = library, downloads
        self._lock = threading.Lock()
        self._followed: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """Whether one is on its way, or about to be used."""
        return bool(self._followed) or any(download.is_active for download in self.unfinished())

    def unfinished(self) -> list[Download]:
        """Those that are on their way, were cancelled or failed."""
        return [one for one in self._downloads.all() if one.kind == EMBEDDER and one.state != DownloadState.DONE]

    def missing(self, text: str) -> str | None:
        """The hub name that was typed, where its model has to be fetched first."""
        try:
            name = HubName.parse(text.strip())
        except ConfigError:
            return None
        return None if name.file or find_downloaded(str(name), EMBEDDER) or _is_cached(str(name)) else str(name)

    def begin(self, name: str) -> None:
        """Fetch an embedder, then use it. Raises: ConfigError for a name that is none."""
        self._follow(self._downloads.start(name, kind=EMBEDDER).name)

    def resume(self, name: str) -> None:
        """Go on with one that was cancelled or failed, then use it. Raises: DownloadError if there is none."""
        self._follow(self._downloads.resume(name).name)

    def cancel(self, name: str) -> None:
        """Stop; what came is kept. Raises: DownloadError if there is none."""
        self._downloads.cancel(name)

    def forget(self, name: str) -> None:
        """Delete what has come. Raises: DownloadError if there is none."""
        self._downloads.forget(name)

    def _follow(self, name: str) -> None:
        with self._lock:
            if name not in self._followed:
                self._followed.add(name)
                threading.Thread(target=self._use_when_whole, args=(name,), name="embedder", daemon=True).start()

    def _use_when_whole(self, name: str) -> None:
        try:
            self._downloads.wait(name)
            download = self._downloads.find(name)
            if download is not None and download.state == DownloadState.DONE:
                self._library.choose_embedder(name)
        except AssistantError:
            logger.exception("using %s", name)
        finally:
            self._followed.discard(name)


def _is_cached(name: str) -> bool:
    """Whether another program fetched it into the hub's cache."""
    from rag.embedding.sentence_transformer import snapshot

    try:
        return snapshot(name).is_dir()
    except ModelError:
        return False
