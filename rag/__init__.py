"""The library: the user's own files, searched and cited."""
