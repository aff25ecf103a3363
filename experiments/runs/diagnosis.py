"""`diagnose`: build the network of a configuration, measure it, and describe the result."""

from collections import Counter
from collections.abc import Iterator

from experiments.config import DTYPES, RunConfig
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.progress import Progress, Silent
from prune import Probe
from prune.diagnosis import measure
from prune.diagnosis.measure import Diagnosis, Layer, Residual
from prune.diagnosis.verdict import verdict

KINDS = ("zero", "negative", "not_finite")
WORDS = ("zero", "negative", "not finite")


def diagnose(config: RunConfig, progress: Progress | None = None) -> Diagnosis:
    """Measure the network of this configuration at initialisation; no data is needed.

    Raises:
        ValueError: If the model does not suit the shape of the data set's images.
    """
    progress = progress or Silent()
    progress.begin("building the network", None)
    model = initial_model(config)
    progress.begin("diagnosing", None)
    return measure.diagnose(model, Probe(probe_shape(config), dtype=DTYPES[config.score_dtype]))


def report(config: RunConfig, found: Diagnosis) -> str:
    """Format the measurements, a table of layers with unusual scores, and the verdict."""
    return "\n".join(_lines(config, found))


def facts(config: RunConfig, found: Diagnosis) -> dict:
    """The same measurements by name, for scripts."""
    hold, text = verdict(found)
    network = {"model": config.model, "dataset": config.dataset}
    return network | vars(found) | {"theorems_hold": hold, "verdict": text}


def _lines(config: RunConfig, found: Diagnosis) -> Iterator[str]:
    size = sum(layer.size for layer in found.layers)
    R = f"{found.unscaled_R:.6g}" if found.scale else f"{found.R:g}"
    yield (
        f"{config.model} for {config.dataset}: {size:,} weights in {len(found.layers)} layers, "
        f"R = {R} in {config.score_dtype}"
    )
    yield f"neuron-wise   {_residual(found.neuron_wise, 'channels whose S_in and S_out compare')}"
    yield f"cut-wise      {_residual(found.cut_wise, 'cuts, the input among them')}"
    cuts = [layer.name for layer in found.layers if layer.is_cut]
    alone = "every layer" if len(cuts) == len(found.layers) else ", ".join(cuts) or "no layer"
    yield f"single cuts   {alone}"
    counts = Counter(n.name for n in found.normalisations)
    scales = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield f"read as scale {scales or 'nothing'}"
    totals = [sum(getattr(layer, kind) for layer in found.layers) for kind in KINDS]
    shares = [f"{t / size:.2%} {word}" for t, word in zip(totals, WORDS, strict=True)]
    yield f"scores        {', '.join(shares)}"
    yield from _table([layer for layer in found.layers if any(_counts(layer))])
    yield verdict(found)[1]


def _counts(layer: Layer) -> tuple[int, ...]:
    return tuple(getattr(layer, kind) for kind in KINDS)


def _residual(found: Residual, what: str) -> str:
    worst = f"; worst at {found.where}" if found.compared else ""
    return f"{found.value:.2g} over {found.compared:,} {what}{worst}"


def _table(layers: list[Layer]) -> Iterator[str]:
    if not layers:
        return
    wide = max(len(layer.name) for layer in layers)
    yield f"  {'':{wide}}{''.join(f'{word:>11}' for word in WORDS)}"
    for layer in layers:
        shares = "".join(f"{count / layer.size:>11.2%}" for count in _counts(layer))
        yield f"  {layer.name:{wide}}{shares}  {layer.cause}".rstrip()
