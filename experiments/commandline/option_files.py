"""Options from a file, `--config FILE.toml` and `--like RESULT.json`; those typed override them."""

from collections.abc import Mapping
from pathlib import Path

import click

from experiments.commandline.options import IMP_OPTIONS, RUN_OPTIONS

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CODE = ("model", "dataset", "pruner")  # options that may name a user's code
DECIDING = (*CODE, "schedule", "recipe")  # of the defaults of others


def config_file(command):
    """Give a command the option --config."""
    return click.option(
        "--config",
        type=FILE,
        help="A TOML file of options: compression = 100.  [none]",
        callback=_fill,
        is_eager=True,
        expose_value=False,
    )(command)


def like_file(command):
    """Give a command the option --like."""
    return click.option("--like", type=FILE, help="The result.json of a run to repeat.  [none]")(
        command
    )


def _fill(ctx: click.Context, option: click.Parameter, path: Path | None) -> None:
    """Make the options of the file click's defaults, converted and checked as typed ones."""
    if path is None:
        return
    known = {o.name: o for o in ctx.command.params if isinstance(o, click.Option)}
    filled: dict[str, object] = {}
    for key, value in _toml(path).items():
        name = key.replace("-", "_")
        if name not in known or name in (option.name, "like"):
            allowed = ", ".join(sorted(n.replace("_", "-") for n in known if n != option.name))
            raise click.UsageError(f"{path} sets {key!r}; the options are {allowed}")
        filled[name] = _typed(path, known[name], value)
    ctx.default_map = filled


def _toml(path: Path) -> dict[str, object]:
    try:
        import tomllib
    except ModuleNotFoundError:
        raise click.UsageError("--config needs Python 3.11 or later, which reads TOML") from None
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise click.UsageError(f"{path} is no TOML file: {error}") from None


def _typed(path: Path, option: click.Option, value: object) -> object:
    """Return a value as it would be typed: an array is a text with commas; a flag is as it is."""
    if isinstance(value, bool) != option.is_flag or isinstance(value, dict):
        kind = "true or false" if option.is_flag else "a text, a number or an array"
        raise click.UsageError(f"{path} sets {option.name} to {value!r}; {kind} is expected")
    if option.is_flag:
        return value
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def like(path: Path, typed: Mapping[str, object]) -> dict[str, object]:
    """Return the options of the run that a result file describes, and over them the typed ones.

    Code of a user that the file names is not imported.

    Raises:
        ValueError: If the file is damaged, is of `imp`, or names code that is not typed again.
    """
    from dataclasses import replace

    from experiments.config import restore
    from experiments.runs.files import read_result
    from train.foreign import is_code

    config = restore(read_result(path)["config"])
    given = {name: value for name, value in typed.items() if value is not None}
    if config.cycles:
        raise ValueError(f"{path} is a result of imp, which has no --like")
    code = {name: getattr(config, name) for name in CODE if is_code(getattr(config, name))}
    for name, value in code.items():
        if name not in given:
            raise ValueError(
                f"{path} names code, which is run only if it is typed: --{name} {value}"
            )
    return options_of(replace(config, **{name: given[name] for name in code})) | given


def options_of(config) -> dict[str, object]:
    """The fewest options that make a RunConfig: `resolve` of them gives it again."""
    from experiments.config import RunConfig
    from experiments.pruners import usual_steps
    from experiments.resolve import resolve

    default = RunConfig()
    chosen = {name: getattr(config, name) for name in DECIDING}
    chosen = {name: value for name, value in chosen.items() if value != getattr(default, name)}
    steps = {} if config.steps is None else {"steps": config.steps}
    filled = resolve(chosen | steps)  # a schedule needs several steps
    found = chosen | {n: v for n, v in config.decisive.items() if v != getattr(filled, n)}
    if config.epochs == 0:
        found.pop("precision", None)  # of training
    return found if config.steps == usual_steps(config.pruner, config.schedule) else found | steps


def command_of(config) -> list[str]:
    """The words of the command that makes a run of this configuration, in the usual folders.

    A score of the user's own is not imported.
    """
    from dataclasses import replace

    from experiments.config import RunConfig
    from experiments.pruners import is_own

    own = {"pruner": config.pruner, "steps": config.steps} if is_own(config.pruner) else {}
    chosen = options_of(replace(config, pruner=RunConfig().pruner) if own else config) | own
    words = ["synflow", "imp" if config.cycles else "run"]
    for option in IMP_OPTIONS if config.cycles else RUN_OPTIONS:
        name = option.split("/")[0]
        if name.replace("-", "_") in chosen:
            words += _typed_as(name, chosen[name.replace("-", "_")])
    return words


def _typed_as(name: str, value: object) -> list[str]:
    """The words of an option with this value."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, tuple):
        return [f"--{name}", ",".join(map(str, value)) or "none"]
    if isinstance(value, float) and value == float(f"{value:g}"):
        return [f"--{name}", f"{value:g}"]
    return [f"--{name}", str(value)]
