"""The owner and the check sums of a run's files: each of them is read through these checks.

The name of a run's directory identifies its configuration. result.json holds the configuration,
masks.npz and cycle.json hold the name, so a file of another run is refused. masks.npz has the sums
of layers.csv and steps.csv, result.json those of all tables and its own. Timings and versions are
not summed: identical runs have equal sums. Files of older versions have none.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from zipfile import BadZipFile

from experiments.config import fits, restore

SUMS = "sha256"  # the entry with the sums: name of a file -> sum
UNSUMMED = ("seconds", "versions", SUMS)
PLAIN = {str, int, float, bool, type(None)}  # most values: they are summed as they are
RUN_NAME = re.compile(r".+-seed\d+-[0-9a-f]{8}")
DAMAGE = (ValueError, TypeError, KeyError, EOFError, RuntimeError, IsADirectoryError)
DAMAGE += (BadZipFile, zlib.error)  # of readers
TEXTS = fits(dict[str, str])
ACCURACY = {"top1": float, "top5": float, "loss": float}
RESULT = {  # entries of result.json -> their kinds
    "config": dict,
    "prunable": int,
    "kept": int,
    "compression": float,
    "density": dict[str, float],
    "empty_tensors": list[str],
    "connected": bool,
    "max_prune_cut_ratio": (float, None),
    "steps": int,
    "score_dtype": str,
    "untrained": (ACCURACY, None),
    "best": (ACCURACY, None),
    "final": (ACCURACY, None),
    "seconds": dict[str, float],
    "versions": dict,
}
CHECKS = {name: fits(kind) for name, kind in RESULT.items()}


class Foreign(ValueError):
    """A file is that of another run."""


def checksum(content: object) -> str:
    """SHA-256 of the JSON of a content, without timings and versions at any depth."""
    return sha256(json.dumps(_lasting(content)).encode()).hexdigest()


def _lasting(content: object) -> object:
    if type(content) in PLAIN:
        return content
    if isinstance(content, Mapping):
        return {key: _lasting(value) for key, value in content.items() if key not in UNSUMMED}
    return [_lasting(item) for item in content] if isinstance(content, list | tuple) else content


def signed(content: Mapping, name: str, others: Mapping[str, str]) -> dict:
    """The content of the file `name` with the entry of sums: those of `others`, and its own."""
    return {**content, SUMS: {**others, name: checksum(content)}}


def parsed(text: str | bytes) -> object:
    """Parse JSON strictly.

    Raises:
        ValueError: If it is none, holds NaN or infinity, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def check(content: object, name: str, kinds: Mapping[str, Callable[[object], bool]]) -> None:
    """Check the entries of a JSON file of a run, and its own sum if it has one.

    Args:
        content: As read from JSON.
        name: Of the file, in the entry of sums.
        kinds: Its entries, and what `fits` makes of their kinds.

    Raises:
        ValueError: With the reason.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it holds no entries but {type(content).__name__}")
    if missing := [key for key in kinds if key not in content]:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if wrong := [key for key, right in kinds.items() if not right(content[key])]:
        raise ValueError(f"its {wrong[0]} is of a wrong kind")
    if not TEXTS(sums := content.get(SUMS, {})):
        raise ValueError(f"its {SUMS} is of a wrong kind")
    if name in sums and sums[name] != checksum(content):
        raise ValueError("its check sum is another: it was changed after it was written")


def check_result(content: object, name: str, directory: str) -> None:
    """Check a result: its entries, its sum, its configuration and its owner.

    A directory that the user has named holds any run.

    Args:
        content: As read from JSON.
        name: Of the file, in the entry of sums.
        directory: The name of the run's directory.

    Raises:
        Foreign: If the directory's name is that of another run.
        ValueError: If the result is damaged.
    """
    check(content, name, CHECKS)
    config = content["config"]
    owner = restore(config).name
    renamed = "bn" not in config and config["pruner"] == "grasp"  # `grasp-text` had this name
    if RUN_NAME.fullmatch(directory) and not renamed:
        check_owner(owner, directory)


def check_owner(owner: str, directory: str) -> None:
    """Raise Foreign unless the owner of a file is the run of this directory."""
    if owner != directory:
        raise Foreign(f"is that of {owner}, not of {directory}; move it away to make it again")


def located(what: str, verify: Callable[[], object]) -> object:
    """Call `verify` and return its result; `what` names the file in its errors.

    Raises:
        ValueError: In one sentence that names the file.
    """
    try:
        return verify()
    except Foreign as error:
        raise ValueError(f"{what} {error}") from None
    except DAMAGE as error:
        raise ValueError(f"{what} is damaged: {error}; move it away to make it again") from None
