"""The curve that a run is a point of."""

from collections.abc import Mapping


def series_name(config: Mapping[str, object]) -> str:
    """The curve that a run (its configuration by name) is a point of.

    That is its pruner, and what sets it apart from that pruner as the paper uses it. A run of
    compression 1 is "dense", a point of all curves.
    """
    if config["compression"] == 1:
        return "dense"
    if cycles := config.get("cycles"):
        rewound = "" if config.get("rewind", True) else ", not rewound"
        return f"imp, {cycles} cycle{'s' * (cycles > 1)}{rewound}"
    usual = {"schedule": "exponential", "scope": "global", "score_dtype": "float64", "ablate": None}
    usual["steps"] = 100 if config["pruner"] == "synflow" else 1
    if config["schedule"] == "certified":
        usual["steps"] = None
    parts = [config["pruner"], *(config.get(k) for k, v in usual.items() if config.get(k, v) != v)]
    return " ".join(f"{part} steps" if isinstance(part, int) else str(part) for part in parts)
