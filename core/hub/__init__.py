"""Models from a hub: fetched when the user asks and never by themselves, checked byte by byte, found again by name."""

from core.hub.fetch import DownloadProgress, Watch, download

__all__ = ["DownloadProgress", "Watch", "download"]
