"""The options of the command line, and the conversion of their text. Imports no torch."""

import click

from experiments.commandline.names import CHOICES, Names, entries, words

MODEL_HELP = words("model", "torchvision:NAME", "timm:NAME", "package.module:factory") + "."
DATASET_HELP = words("dataset", "folder:PATH", "package.module:function") + "."
PRUNER_HELP = words("pruner", "package.module:function") + "."
LOG_HELP = f"Log each epoch: {words('log', 'package.module:callback')}."
ALLOCATION_HELP = f"Weights of each layer: {words('allocation')}."
FIGURES = (*"01234567", "cost", "critical", "precision", "variants", "table")
FOLDER = click.Path(file_okay=False)


def patterns(_, option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """ "fc.*,conv1" -> ("conv1", "fc.*"): sorted, each once."""
    if text is None:
        return None
    return tuple(sorted(set(entries(text))))


OPTIONS = {
    "model": {"help": MODEL_HELP + "  [mlp]"},
    "dataset": {"help": DATASET_HELP + "  [digits]"},
    "pruner": {"help": PRUNER_HELP + "  [synflow]"},
    "compression": {"type": float, "help": "rho >= 1; 100 keeps 1 %.  [10]"},
    "steps": {"type": int, "help": "Pruning iterations.  [100 for synflow and synflow-l2, else 1]"},
    "schedule": {"help": f"{words('schedule')}.  [exponential]"},
    "scope": {"help": f"{words('scope')}.  [global]"},
    "bn": {"help": f"Statistics of batch norm in scores of data: {words('bn')}.  [running]"},
    "exclude": {
        "help": "Patterns of weights that stay dense: classifier.*,conv1.weight.  [none]",
        "metavar": "A,B,...",
        "callback": patterns,
    },
    "allocation": {"help": ALLOCATION_HELP + "  [none]"},
    "ablate": {"help": f"Sanity check: {words('ablate')}.  [none]"},
    "seed": {"type": int, "help": "Seed of weights, data order and random scores.  [0]"},
    "width": {"type": float, "help": "Factor of every hidden width.  [1]"},
    "init": {"help": f"Initial weights: {words('init')}.  [paper]"},
    "device": {"help": "auto, cpu, cuda or cuda:N.  [auto]"},
    "score-dtype": {"help": f"{words('score-dtype')}.  [float64]"},
    "recipe": {"help": f"Training hyperparameters: {words('recipe')}.  [paper]"},
    "epochs": {"type": int, "help": "0 prunes, saves and stops.  [recipe]"},
    "batch-size": {"type": int, "help": "[recipe]"},
    "lr": {"type": float, "help": "Learning rate.  [recipe]"},
    "lr-drops": {"help": "Epochs after which the rate drops: 60,120, or none.  [recipe]"},
    "drop-factor": {"type": float, "help": "Factor of the rate at each drop.  [recipe]"},
    "weight-decay": {"type": float, "help": "[recipe]"},
    "record-weights": {
        "is_flag": True,
        "default": None,
        "help": "Also write weights.csv: mean squared weights per layer and epoch.",
    },
    "precision": {
        "help": f"{words('precision')}.  [bfloat16 where the device has it, else float32]"
    },
    "compile": {"is_flag": True, "default": None, "help": "Train with torch.compile."},
    "compact/--no-compact": {
        "default": None,
        "help": "Train without the channels that nothing reads, or with.  [without, if possible]",
    },
    "train-images": {"type": int, "help": "Train on a fixed subset of this size.  [all]"},
    "workers": {"type": int, "help": "Processes that decode imagenet's images.  [all cores]"},
    "cycles": {"type": click.IntRange(1), "default": 3, "show_default": True},
    "rewind/--no-rewind": {
        "default": None,
        "help": "Give the kept weights their initial values back, or not.  [rewind]",
    },
    "mean-init": {
        "type": click.Choice(["paper", "torch", "published"]),
        "default": "paper",
        "show_default": True,
        "help": "Initial weights: Kaiming normal, PyTorch's own, or the authors'.",
    },
    "draws": {"type": click.IntRange(2), "help": "Also R of this many draws of weights.  [none]"},
    "nas-bench-201": {"is_flag": True, "help": "All 15,625 cells of NAS-Bench-201, as CSV."},
    "log": {"help": LOG_HELP + "  [none]"},
    "data-dir": {"type": FOLDER, "default": "data", "show_default": True},
    "results": {"type": FOLDER, "default": "results", "show_default": True},
}
NETWORK_OPTIONS = ("model", "dataset", "seed", "width", "init", "device", "score-dtype")
SCORE_OPTIONS = ("dataset", "width", "mean-init", "draws", "nas-bench-201")
PRUNING_OPTIONS = (
    "pruner",
    "compression",
    "steps",
    "schedule",
    "scope",
    "allocation",
    "bn",
    "exclude",
    "ablate",
)
TRAINING_OPTIONS = (
    "recipe",
    "epochs",
    "batch-size",
    "lr",
    "lr-drops",
    "drop-factor",
    "weight-decay",
    "train-images",
)
SPEED_OPTIONS = ("precision", "compile", "compact/--no-compact", "workers")
PLACE_OPTIONS = ("data-dir", "results")
RUN_OPTIONS = (
    *NETWORK_OPTIONS,
    *PRUNING_OPTIONS,
    *TRAINING_OPTIONS,
    "record-weights",
    *SPEED_OPTIONS,
    "log",
    *PLACE_OPTIONS,
)
IMP_OPTIONS = (
    *(name for name in NETWORK_OPTIONS if name != "score-dtype"),
    "compression",
    "cycles",
    "rewind/--no-rewind",
    "exclude",
    *TRAINING_OPTIONS,
    *SPEED_OPTIONS,
    "log",
    *PLACE_OPTIONS,
)
LISTS = {  # of a sweep: name -> help and kind
    "models": (MODEL_HELP + "  [mlp]", str),
    "datasets": (DATASET_HELP + "  [digits]", str),
    "pruners": (PRUNER_HELP + "  [the paper's five; snip@100: in 100 steps]", str),
    "compressions": ("[10^0, 10^0.25, ..., 10^3]", float),
    "seeds": ("[0,1,2]", int),
    "allocations": (ALLOCATION_HELP + "  [none]", str),
    "ablates": ("none, shuffle, reinit or invert.  [none]", str),
    "cycles": ("Cycles of imp, instead of --pruners: 1,2,3.", int),
}
SWEEP_OPTIONS = (
    "rewind/--no-rewind",
    *(name for name in RUN_OPTIONS if f"{name}s" not in LISTS),
)


COUNT = click.IntRange(1)
LAUNCHERS = {  # of a sweep; those of CLUSTER are for --launcher slurm
    "jobs": {"type": int, "help": "Processes, which share the threads.  [1]"},
    "shard": {"metavar": "I/N", "help": "Only the I-th of N parts, for other schedulers."},
    "dry-run": {"is_flag": True, "help": "List the runs and estimate their time."},
    "status": {"is_flag": True, "help": "Count the runs: done, running, waiting, failed."},
    "retry-failed": {"is_flag": True, "help": "Only the runs that have failed."},
    "launcher": {
        "type": click.Choice(["local", "slurm"]),
        "default": "local",
        "show_default": True,
        "help": "Processes here, or jobs of a Slurm cluster.",
    },
    "partition": {"help": "Slurm's partition.  [its default]"},
    "time": {"type": COUNT, "help": "Minutes of a job; then it is requeued and goes on.  [60]"},
    "gpus-per-run": {"type": COUNT, "help": "GPUs of a job.  [none]"},
    "runs-per-job": {"type": COUNT, "help": "Runs that a job does one after the other.  [1]"},
    "ranks-per-run": {"type": COUNT, "help": "Processes of torchrun for each run.  [1]"},
}
CLUSTER = ("partition", "time", "gpus_per_run", "runs_per_job", "ranks_per_run")

TRUSTED = {  # of inspect, export and report: the modules that a result names and may be run
    "model": "The run's model, if it is package.module:factory: that module is run.",
    "dataset": "The run's data set, if it is package.module:function: that module is run.",
}


def trusted(command):
    """Give a command the options that name a run's modules again."""
    for name, text in reversed(TRUSTED.items()):
        command = click.option(f"--{name}", help=text)(command)
    return command


def options(*names: str):
    """Give a command the options of these names, in this order."""

    def decorate(command):
        for name in reversed(names):
            kind = {"type": Names(name)} if name in CHOICES else {}
            command = click.option(f"--{name}", **kind | OPTIONS[name])(command)
        return command

    return decorate


def lists(command):
    """Give a sweep its options that take lists."""
    for name, (text, kind) in reversed(LISTS.items()):
        singular = name.removesuffix("s")
        names = {"type": Names(singular)} if singular in CHOICES else {}
        command = click.option(f"--{name}", help=text, **names | listed(kind))(command)
    return command


def launchers(command):
    """Give a sweep the options that decide where its runs are done, and which of them."""
    for name, kinds in reversed(LAUNCHERS.items()):
        command = click.option(f"--{name}", **kinds)(command)
    return command


def listed(kind: type):
    """A comma-separated option: "1,10,100" -> [1.0, 10.0, 100.0]."""

    def convert(_, option: click.Parameter, text: str | None) -> list | None:
        try:
            return None if text is None else [kind(part) for part in entries(text)]
        except ValueError:
            raise click.BadParameter(f"{text} is not a list like 1,10,100") from None

    return {"callback": convert, "metavar": "A,B,..."}


def part_of(text: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8)."""
    try:
        part, parts = map(int, text.split("/"))
    except ValueError:
        raise ValueError(f"--shard must be like 2/8, not {text}") from None
    return part, parts


def epochs_of(text: str | None) -> tuple[int, ...] | None:
    """ "60,120" -> (60, 120); "none" -> ()."""
    if text is None:
        return None
    try:
        return () if text == "none" else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--lr-drops must be epochs as in 60,120, or none; not {text}") from None
