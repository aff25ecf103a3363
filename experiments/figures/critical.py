"""Figure `critical`: the critical compression of each method (Sec. 3, the claim of Fig. 1).

Networks are the paper's, at their own scale, at initialisation; nothing is trained.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import log10
from statistics import median

from experiments.config import RunConfig
from experiments.figures import cells, collect, style
from experiments.figures.collapse import Found, Method, path, save, saved, search
from experiments.runs.progress import Progress

NETWORKS = {  # model, data set -> seeds; the quickest first
    ("resnet20", "cifar100"): 10,
    ("vgg11", "cifar100"): 10,
    ("vgg16", "cifar100"): 10,
    ("vgg19", "cifar100"): 10,
    ("resnet18", "cifar100"): 10,
    ("vgg16", "tiny-imagenet"): 3,
    ("resnet18", "tiny-imagenet"): 3,
    ("wrn18", "cifar100"): 2,
    ("wrn18", "tiny-imagenet"): 2,
}
METHODS = (
    Method("random"),
    Method("magnitude"),
    Method("snip"),
    Method("grasp"),
    Method("synflow"),
    Method("synflow", 10),
    Method("synflow", 100),
    Method("synflow", None),
)
SLOW = (  # only with `full`, and for the first FEW seeds
    Method("snip", 10),
    Method("snip", 100),
    Method("grasp", 10),
    Method("grasp", 100),
    Method("synflow", 1000),
)
FEW = 3
CAPTION = (
    "Critical compression: the largest at which a path is left, at initialisation; one point for "
    "each seed. Line: the largest that any mask can reach, N over the weights of a shortest path. "
    "Methods of a number of steps are tried at 10^(k/4) up to there. {images}"
)


def networks() -> list[dict]:
    """List the networks with their seeds."""
    return [
        {"model": model, "dataset": dataset, "seed": seed}
        for (model, dataset), seeds in NETWORKS.items()
        for seed in range(seeds)
    ]


def compute(configs: Sequence[RunConfig], progress: Progress, full: bool = False) -> None:
    """Search what is missing, each network and seed with all methods; `full`: also with SLOW."""
    missing = list(_missing(configs, full))
    progress.begin("critical compressions", len(missing))
    for config, method in missing:
        save(config, search(config, method, progress))
        progress.tick()


def _missing(configs: Sequence[RunConfig], full: bool) -> Iterator[tuple[RunConfig, Method]]:
    """List the networks and methods without a result."""
    for config in configs:
        known = {found.method for found in saved(config) if found.seed == config.seed}
        methods = METHODS + (SLOW if full and config.seed < FEW else ())
        yield from ((config, method) for method in methods if method.label not in known)


def draw(configs: Sequence[RunConfig]) -> style.Drawing:
    """Draw all saved results of the networks, of any seed.

    Raises:
        FileNotFoundError: If there is none.
    """
    files = {path(config): config for config in configs}
    results = {config: saved(config) for config in files.values()}
    results = {config: results[config] for config in sorted(results, key=_order) if results[config]}
    if not results:
        raise cells.nothing(configs[0], "critical")
    images = {found.images for each in results.values() for found in each} - {None}
    text = CAPTION.format(
        images=f"SNIP and GraSP: {' or '.join(sorted(images))}." if images else ""
    )
    figure, axes = style.grid(len(results), text)
    figure.subplots_adjust(left=1.3 / figure.get_size_inches()[0], wspace=0.12)
    labels = [label for label, _ in _in_order([one for each in results.values() for one in each])]
    for axis, (config, found) in zip(axes, results.items(), strict=True):
        _panel(axis, found, labels)
        axis.tick_params(labelleft=axis.get_subplotspec().is_first_col())
        style.title(axis, cells.title(config))
    style.label_all(axes, "critical compression")
    style.share_x(axes)
    rows = [row for config, found in results.items() for row in _rows(config, found)]
    return style.Drawing(figure, rows, list(_notes(results)))


def _order(config: RunConfig) -> tuple[int, int]:
    return collect.order(config.model, config.dataset)


def _in_order(found: Sequence[Found]) -> list[tuple[str, list[Found]]]:
    """Group results by method, in the order of METHODS and SLOW."""
    order = [method.label for method in sorted(METHODS + SLOW, key=_place)]
    ranked = sorted(found, key=lambda one: (order.index(one.method), one.seed))
    return [(label, list(group)) for label, group in groupby(ranked, lambda one: one.method)]


def _place(method: Method) -> tuple[int, float]:
    """Order methods by score, then by steps; certified last."""
    pruners = list(dict.fromkeys(method.pruner for method in METHODS))
    return pruners.index(method.pruner), method.steps or float("inf")


def _panel(axis, found: Sequence[Found], labels: Sequence[str]) -> None:
    """Draw a row of points for each method."""
    for label, group in _in_order(found):
        look = style.LOOKS[label.split()[0]]
        x, y = [one.compression for one in group], [labels.index(label)] * len(group)
        axis.plot(x, y, look.marker, color=look.color, ms=4, mew=0, alpha=0.6)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.axvline(found[0].N / found[0].shortest, color="#111111", lw=1)
    style.log(axis, "x")


def _rows(config: RunConfig, found: Sequence[Found]) -> Iterator[dict]:
    for _, group in _in_order(found):
        for one in group:
            limit = one.N / one.shortest
            more = {"compression": f"{one.compression:.6g}", "limit": f"{limit:.6g}"}
            yield {"model": config.model, "dataset": config.dataset} | one._asdict() | more


def _notes(results: dict[RunConfig, list[Found]]) -> Iterator[str]:
    """Give the range and the median of each method, as powers of ten, and the seeds at the end."""
    for config, found in results.items():
        N, shortest = found[0].N, found[0].shortest
        limit = f"at most 10^{log10(N / shortest):.2f} ({shortest} of {N:,} weights)"
        yield f"{config.model}, {config.dataset}: {limit}"
        for label, group in _in_order(found):
            powers = [log10(one.compression) for one in group]
            spread = " / ".join(f"{f(powers):.2f}" for f in (min, median, max))
            ended = f"{sum(one.ended for one in group)} of {len(group)}"
            yield f"  {label:18} 10^ {spread}; to the end {ended}"
