"""The help of commands with many options: in groups, with examples. Imports no torch."""

import click

from experiments.commandline import options
from experiments.commandline.output import OUTPUTS, Reporting

GROUPS = {
    "Grid": tuple(name for name in options.LISTS if name != "cycles"),
    "Network and data": options.NETWORK_OPTIONS,
    "Pruning": (*options.PRUNING_OPTIONS, "cycles", "rewind/--no-rewind"),
    "Training": (*options.TRAINING_OPTIONS, "record-weights"),
    "Speed": options.SPEED_OPTIONS,
    "Folders": options.PLACE_OPTIONS,
    "Many runs": tuple(options.LAUNCHERS),
    "Output": ("log", *OUTPUTS),
}
EXAMPLES = {  # command -> options to show; only these commands have groups
    "run": (
        "--compression 100",
        "--model vgg16 --dataset cifar100 --pruner snip",
        "--model torchvision:resnet50 --dataset imagenet --epochs 0",
        "--pruner my_scores:widest --dataset folder:pictures@64",
        "--config run.toml --seed 1",
    ),
    "sweep": (
        "--pruners synflow,snip@100,magnitude --compressions 1,10,100 --seeds 0,1",
        "--models vgg16 --datasets cifar100 --jobs 2 --dry-run",
        "--preset laptop-pruners --launcher slurm --partition gpu --time 120",
    ),
    "imp": ("--compression 30 --cycles 3",),
}


class Grouped(Reporting):
    """A command whose help has groups and examples, if EXAMPLES has some."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence, whole: the list of commands wraps it."""
        return super().get_short_help_str(limit=200)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.name not in EXAMPLES:
            return super().format_options(ctx, formatter)
        rows: dict[str, list] = {title: [] for title in (*GROUPS, "Options")}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                rows[_group(param)].append(record)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        with formatter.section("Examples"):
            for line in EXAMPLES[self.name]:
                formatter.write(f"{'':{formatter.current_indent}}{ctx.command_path} {line}\n")


def _group(param: click.Parameter) -> str:
    """The first group that names the option; "Options" if none does."""
    flag = param.opts[0].removeprefix("--")
    found = (
        title for title, names in GROUPS.items() if flag in {name.split("/")[0] for name in names}
    )
    return next(found, "Options")
