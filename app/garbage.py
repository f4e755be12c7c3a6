"""Keeps Python's search for garbage from holding up the page.

A full search looks at every object while no thread of ours runs. The libraries alone make a million of them, so it
takes a third of a second, and it comes whenever their number has grown by a quarter: many times during the start, and
again in the middle of an answer. So nothing is searched while the program starts or a model is loaded, and what stands
after it is set aside (`gc.freeze`): later searches look at what came since.
"""

import gc


def pause() -> None:
    """Search for none until `set_aside`."""
    gc.disable()


def set_aside() -> None:
    """Leave out what stands now from all searches to come, and search again."""
    gc.freeze()
    gc.enable()


def collect_all() -> None:
    """Search everything, what was set aside too, and set aside what is in use."""
    gc.unfreeze()
    gc.collect()
    set_aside()
