"""Keeps Python's search for garbage from holding up the page.

A full search looks at every object while no thread of ours runs. The libraries alone make a million of them, so it
takes a third of a second, and it comes whenever their number has grown by a quarter: many times during the start, and
again in the middle of an answer. So nothing is searched while libraries are imported or a model is loaded, and what
libraries made is set aside for good (`gc.freeze`): later searches look at what came since. Of what a user makes and
drops, a model above all, nothing may stand then, for it would never be found again.
"""

import gc


def pause() -> None:
    """Search for none until `set_aside` or `resume`."""
    gc.disable()


def set_aside() -> None:
    """Leave out what stands now from all searches to come, and begin to search again."""
    gc.freeze()
    gc.enable()


def resume() -> None:
    """Search again, what came meanwhile too."""
    gc.enable()
