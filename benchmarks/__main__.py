"""`python -m benchmarks COMMAND`: the speed of pruning, as ratios of times of the same round.

benchmarks/README.md explains the tables.
"""

import click

from benchmarks.cpu import cpu
from benchmarks.gpu import gpu
from benchmarks.growth import growth
from benchmarks.pruning import certified, data, synflow
from benchmarks.training import main as training
from benchmarks.training_cpu import main as training_cpu
from benchmarks.whole import runs, start_up
from benchmarks.zoo import zoo


@click.group()
def main() -> None:
    """Measure the speed of pruning, as ratios of times of the same round."""


PRUNING = synflow, certified, data, growth
TRAINING = training, training_cpu, runs
for command in (*PRUNING, *TRAINING, start_up, cpu, gpu, zoo):
    main.add_command(command)

if __name__ == "__main__":
    main()
