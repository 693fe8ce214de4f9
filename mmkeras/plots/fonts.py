"""Fonts for labels in any script: matplotlib's own has no Chinese or Japanese."""

import contextlib
import functools
import logging
import warnings

from matplotlib import font_manager, rcParams
from matplotlib.text import Text

# As Linux, Windows and macOS have them; one of each face is enough.
WIDE = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti TC",
    "Arial Unicode MS",
)
MISSING = (
    "no font of this machine has some letters of the labels: figures show boxes in "
    "their place. Install one, as Noto Sans CJK (Debian: fonts-noto-cjk)"
)


@contextlib.contextmanager
def legible(figure):
    """Draws the texts of a figure in fonts that have their letters, if there are any.

    Args:
        figure: a `matplotlib.figure.Figure`, drawn within.

    Warns:
        UserWarning: letters are missing; once, not for each of them.
    """
    families = [*rcParams["font.family"], *wide()]
    for axis in figure.axes:  # makes the labels of their ticks
        axis.get_xticklabels(), axis.get_yticklabels()
    for text in figure.findobj(Text):
        text.set_fontfamily(families)
    # A face of another weight is none that a reader must be told of.
    logger = logging.getLogger(font_manager.__name__)
    level = logger.level
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
    told = [each.message for each in found]
    glyphs = [each for each in told if str(each).startswith("Glyph ")]
    for each in told:
        if each not in glyphs:
            warnings.warn(each, stacklevel=3)
    if glyphs:
        warnings.warn(MISSING, stacklevel=3)


@functools.cache
def wide():
    """The families of `WIDE` that are here."""
    manager = font_manager.fontManager
    if not _there(manager):
        # matplotlib keeps a list of fonts, in which those that are new are missing.
        known = {font.fname for font in manager.ttflist}
        for path in set(font_manager.findSystemFonts()) - known:
            with contextlib.suppress(OSError, RuntimeError):
                manager.addfont(path)
    return _there(manager)


def _there(manager):
    names = {font.name for font in manager.ttflist}
    return tuple(name for name in WIDE if name in names)
