"""The times of finished runs that a sweep does not have, to estimate those that it does."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from experiments.config import RunConfig, in_file_names, restore
from experiments.runs import files, packed

HERE = Path("results")  # the usual folder of runs, whose folders may have packs
SAMPLE = 20  # results of a network and data set that are read in a folder


def elsewhere(configs: Sequence[RunConfig]) -> Iterator[tuple[RunConfig, dict]]:
    """Yield finished runs of the same networks and data sets: the configuration and the result.

    They are looked for among the other runs of the sweep's folder, in `results` of the current
    folder, and in its packs. Damaged results are passed over. No other network than those of the
    sweep is yielded: a result file may name code.
    """
    if not configs:
        return
    own = {config.directory.name for config in configs}
    networks = {_network(config) for config in configs}
    starts = {_start(config) for config in configs}
    for folder in _folders(Path(configs[0].results)):
        with suppress(ValueError, OSError):
            paths = [path for path in files.finished(folder) if path.parent.name not in own]
            for start in sorted(starts):
                found = _read([p for p in paths if p.parent.name.startswith(start)])
                yield from (pair for pair in found if _network(pair[0]) in networks)


def _network(config: RunConfig) -> tuple:
    return config.model, config.dataset, config.width


def _start(config: RunConfig) -> str:
    """The beginning of the names of the runs of a network."""
    return f"{in_file_names(config.model)}-{in_file_names(config.dataset)}-"


def _folders(results: Path) -> list[Path]:
    packs = sorted(path.parent for path in HERE.glob(f"*/{packed.RUNS}"))
    return list(dict.fromkeys(path.absolute() for path in (results, HERE, *packs)))


def _read(paths: Sequence[Path]) -> Iterator[tuple[RunConfig, dict]]:
    """Read some of the results, at equal distances."""
    for path in paths[:: -(-len(paths) // SAMPLE) or 1]:
        with suppress(ValueError, OSError):
            result = files.read_result(path)
            yield restore(result["config"]), result
