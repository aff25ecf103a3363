"""The name that was meant, for errors about unknown names."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

FUNCTION = re.compile(r"\w+(\.\w+)+")


def near(given: object, names: Iterable[str], functions: bool = False) -> str:
    """Return "; did you mean NAME?", or nothing where no name is near.

    Capitals and hyphens do not count, nor does the part before a colon: `resnet50` finds
    `torchvision:resnet50`.

    Args:
        given: The unknown name.
        names: All known names.
        functions: True if `package.module:function` is a name too: a dot in place of the colon
            is then found.
    """
    plain = {_plain(name): name for name in reversed([*names])}
    found = get_close_matches(_plain(str(given)), plain, 1, 0.8)
    if found:
        return f"; did you mean {plain[found[0]]}?"
    if functions and FUNCTION.fullmatch(str(given)):
        module, _, function = str(given).rpartition(".")
        return f"; did you mean {module}:{function}?"
    return ""


def _plain(name: str) -> str:
    return name.rpartition(":")[2].lower().replace("-", "").replace("_", "")
