"""The dark theme: a drawn figure is recoloured as a whole, so no figure draws itself twice.

Greys are turned round, from the white of paper to a dark background. Colours keep their hue, and
dark ones are made brighter; of two colours the lighter one stays the lighter one. L* is the
lightness of CIE, from 0 (black) to 100 (white); luminance is that of WCAG, from 0 to 1.
"""

from collections.abc import Iterator, Sequence

RGB = tuple[float, float, float]  # of sRGB, from 0 to 1
PARTS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
BACKGROUND, BRIGHTEST = 8.0, 95.0  # L* of white and of black in the dark theme
LEAST, UNCHANGED = 42.0, 66.0  # L* of the darkest colour; colours from here on stay as they are
GREY = 0.08  # the largest difference of channels in a grey


def luminance(color: Sequence[float]) -> float:
    """Compute the luminance of an sRGB colour."""
    red, green, blue = map(_linear, color[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lightness(color: Sequence[float]) -> float:
    """Compute the L* of an sRGB colour: its grey in print."""
    Y = luminance(color)
    return 116 * Y ** (1 / 3) - 16 if Y > 216 / 24389 else Y * 24389 / 27


def contrast(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute the contrast of two colours by WCAG, from 1 (none) to 21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def in_dark(color: Sequence[float]) -> RGB:
    """The colour of the dark theme in place of one on white."""
    L = lightness(color)
    if max(color[:3]) - min(color[:3]) < GREY:
        grey = _channel(_luminance_of(BRIGHTEST - (BRIGHTEST - BACKGROUND) * L / 100))
        return (grey, grey, grey)
    lifted = LEAST + (UNCHANGED - LEAST) * L / UNCHANGED
    return _brightened(color, _luminance_of(max(L, lifted)))


def darken(figure) -> None:
    """Give a finished figure of matplotlib the colours of the dark theme, in place."""
    figure.draw_without_rendering()  # makes all ticks
    changes = list(_changes(figure))  # all are read first: some colours have two names
    for artist, part, colours in changes:
        getattr(artist, f"set_{part}")(colours if len(colours) > 1 else colours[0])


def _changes(figure) -> Iterator[tuple[object, str, list]]:
    """The parts of the artists that have a colour, and their colours in the dark theme."""
    for artist in _artists(figure):
        for part in PARTS:
            colours = _colours(artist, part)
            if any(alpha for *_, alpha in colours):
                yield artist, part, [(*in_dark(color), color[3]) for color in colours]


def _artists(figure) -> Iterator:
    """The parts of a figure, also the boxes of texts and the arrows of annotations."""
    for artist in figure.findobj():
        yield artist
        box = artist.get_bbox_patch() if hasattr(artist, "get_bbox_patch") else None
        yield from (part for part in (box, getattr(artist, "arrow_patch", None)) if part)


def _colours(artist, part: str) -> list[list[float]]:
    """The colours (red, green, blue, alpha) of a part of an artist; none if it has no such part."""
    from matplotlib.colors import to_rgba_array

    read = getattr(artist, f"get_{part}", None)
    return to_rgba_array(read()).tolist() if read else []


def _brightened(color: Sequence[float], Y: float) -> RGB:
    """Scale a colour to a luminance; where a channel would leave its range, add white."""
    linear = [_linear(channel) for channel in color[:3]]
    factor = min(Y / luminance(color), 1 / max(linear))
    scaled = [factor * channel for channel in linear]
    now = factor * luminance(color)
    white = (Y - now) / (1 - now)
    red, green, blue = (_channel(channel + white * (1 - channel)) for channel in scaled)
    return (red, green, blue)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _channel(linear: float) -> float:
    """The inverse of `_linear`, within 0 and 1."""
    value = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return min(1.0, max(0.0, value))


def _luminance_of(L: float) -> float:
    """The luminance of an L*."""
    return ((L + 16) / 116) ** 3 if L > 8 else L * 27 / 24389
