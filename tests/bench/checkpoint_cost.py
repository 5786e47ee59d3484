#!/usr/bin/env python3
"""What checkpoints cost: the same run with and without them, alternately, from the files of launch/quickstart.sh.

Prints the seconds of each run between its first update and the last but one (the last one's line waits for a validation), as
TensorBoard's events have them, and the median of the rounds' own ratios: a machine that slows down for a while moves few of them.

Where runs of a minute differ by more than a checkpoint costs, a run is its own measure: the updates after a save, while it is written
beside them, are compared with those of the same cycle that no save touches. Each position's median over all cycles is printed beside
the median of the untouched, and what all positions together take longer.

Example: tests/bench/checkpoint_cost.py --every 10 --rounds 5
         tests/bench/checkpoint_cost.py --ranks 2 --set checkpoint.background=false
"""
import argparse
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).resolve().parents[2]
MPIRUN = ROOT / "tests" / "support" / "mpirun.sh"


def ends_of_updates(run, arguments):
    """When each of the run's updates ended, in seconds: from the first to the last but one."""
    command = [str(MPIRUN), str(arguments.ranks)] if arguments.ranks > 1 else []
    command += [str(ROOT / "build" / "release" / "bin" / "dormer"), "train", arguments.config, "--quiet"]
    settings = {"run.directory": run, "run.steps": arguments.updates, "validation.every": "null", "validation.samples": 1, "export": "[]", "run.threads": 2 // arguments.ranks}
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    for setting in arguments.set + [f"checkpoint.every={run.name.split('-')[-1]}"]:
        command += ["--set", setting]
    subprocess.run(command, cwd=ROOT, check=True)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    times = [event.wall_time for event in events.Scalars("loss")]
    shutil.rmtree(run)
    return times[:-1]


def by_position(runs, every):
    """The seconds of updates by how many came after the last save, 1 to `every`, each beside the untouched ones of its own cycle: ratios.

    The second half of a cycle counts as untouched. The first cycle, whose updates still find their memory, is left out."""
    ratios = [[] for _ in range(every)]
    for ends in runs:
        taken = [after - before for before, after in zip(ends, ends[1:])]  # of updates 2, 3, …
        for begin in range(every - 1, len(taken) - every + 1, every):  # update begin + 2 follows a save
            cycle = taken[begin:begin + every]
            untouched = statistics.median(cycle[every // 2:-1])
            for position, value in enumerate(cycle):
                ratios[position].append(value / untouched)
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--every", default="10", help="cadence of the checkpoints")
    parser.add_argument("--updates", type=int, default=42, help="two more than a multiple of the cadence, so that the last save between updates counts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    ratios, runs = [], []
    with tempfile.TemporaryDirectory(dir=ROOT / "runs" if (ROOT / "runs").is_dir() else ROOT) as folder:
        for number in range(arguments.rounds):
            ends = ends_of_updates(Path(folder) / f"{number}-null", arguments)
            runs.append(ends_of_updates(Path(folder) / f"{number}-{arguments.every}", arguments))
            without, saving = ends[-1] - ends[0], runs[-1][-1] - runs[-1][0]
            ratios.append(saving / without)
            print(f"round {number + 1}: {without:.2f} s without checkpoints, {saving:.2f} s with one every {arguments.every} updates: {ratios[-1]:.4f}", flush=True)
    print(f"median of {arguments.rounds}: {statistics.median(ratios):.4f}")
    if arguments.every.isdigit() and any(positions := by_position(runs, int(arguments.every))):
        medians = [statistics.median(values) for values in positions]
        print(f"updates after a save, of those that none touches ({len(positions[0])} cycles): " + " ".join(f"{value:.3f}" for value in medians))
        print(f"all {arguments.every} together: {100 * (statistics.mean(medians) - 1):+.2f} %")


if __name__ == "__main__":
    main()
