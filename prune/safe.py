"""Masks as safetensors, in the memory of this process. The package is an extra."""

import importlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

SUFFIX = ".safetensors"


def written(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """Return the bytes of a file; equal ones for equal arrays and texts.

    The package writes texts in any order, so the header is written once more.
    """
    content = _package().save(dict(arrays), dict(texts))
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end]) | {"__metadata__": dict(sorted(texts.items()))}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + content[end:]


def read(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a file; bytes that are all 0 or 1 as bool."""
    return {name: _as_bool(array) for name, array in _package().load(content).items()}


def _as_bool(array: np.ndarray) -> np.ndarray:
    bits = array.dtype == np.uint8 and array.max(initial=0) < 2
    return array.view(np.bool_) if bits else array


def _package() -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ImportError:
        raise ImportError(
            "masks as .safetensors need a package: pip install 'synflow[safetensors]'"
        ) from None
