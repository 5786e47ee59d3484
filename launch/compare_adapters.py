#!/usr/bin/env python3
"""One table of a sweep over kinds of adapters: what each kind of adapter in a finished sweep reaches at its own best learning rate, and what it costs.

Groups the sweep's trials by adapter.kind and adapter.decompose, takes each group's learning rate with the lowest mean held-out loss over its seeds,
asks `dormer plan` for memory and `dormer bench` for the time of an update, all kinds in turn in one process. Prints Markdown.

Examples:
  launch/compare_adapters.py configs/compare_adapters.yaml
  launch/compare_adapters.py mine.yaml --rounds 0          # without times
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "build" / "release" / "bin" / "dormer"
RATE = "optimizer.learning_rate"
UNFINISHED = ("running", "waiting")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="the sweep's YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="as the sweep was started with; may stand many times")
    parser.add_argument("--rounds", type=int, default=9, help="updates of each kind that are timed (default 9; 0: none)")
    parser.add_argument("--threads", type=int, default=2, help="of the timed updates (default 2)")
    parser.add_argument("--program", type=Path, default=PROGRAM, help=f"default {PROGRAM}")
    return parser.parse_args()


def say(program: Path, *words) -> str:
    done = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"error: {program} {words[0]} ended with {done.returncode}")
    return done.stdout


def name_of(settings: dict) -> str:
    """As `dormer bench --adapters` calls it."""
    kind, decompose = settings.get("adapter.kind", "lora"), settings.get("adapter.decompose")
    if decompose is None:
        return kind
    name = "dora" if kind == "lora" else f"{kind}-dora"
    return f"{name}-input" if re.search(r"axis: *input", decompose) else name


def shown(name: str) -> str:
    words = {"lora": "LoRA", "dora": "DoRA", "loha": "LoHa", "lokr": "LoKr", "locon": "LoCon", "full": "full"}
    axis = ", input axis" if name.endswith("-input") else ", output axis" if "dora" in name else ""
    return " with ".join(words.get(part, part) for part in name.removesuffix("-input").split("-")) + axis


def groups_of(trials: list) -> dict:
    """The finished trials by kind, then by learning rate."""
    groups = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        if trial["state"] == "complete":
            groups[name_of(trial["settings"])][trial["settings"].get(RATE)].append(trial)
    return groups


def best_of(rates: dict) -> tuple:
    """The rate with the lowest mean, and its trials; of equal ones the smaller rate."""
    mean = {rate: statistics.mean(trial["value"] for trial in trials) for rate, trials in rates.items()}
    rate = min(mean, key=lambda one: (mean[one], one or 0.0))
    return rate, rates[rate]


def settings_words(settings: dict) -> list:
    """Values are texts of YAML, or null."""
    return [word for key in ("adapter.kind", "adapter.decompose") if key in settings for word in ("--set", f"{key}={settings[key] or 'null'}")]


def memory_of(arguments: argparse.Namespace, run: list, settings: dict) -> float:
    """Gigabytes at the peak of an update, the frozen model among them."""
    plan = json.loads(say(arguments.program, "plan", arguments.config, *run, *settings_words(settings), "--json"))
    return plan["machines"][0]["total"] / 1e9


def times_of(arguments: argparse.Namespace, changes: list, run: list, names: list) -> dict:
    if arguments.rounds == 0:
        return {}
    value = lambda key: say(arguments.program, "config", "get", key, arguments.config, *changes).strip()
    dtype = json.loads(say(arguments.program, "plan", arguments.config, *run, "--json"))["dtype"]
    seconds = json.loads(say(arguments.program, "bench", "--model", value("model.path"), "--dtype", dtype, "--rank", value("adapter.rank"),
                             "--samples", value("batch.micro"), "--length", value("data.sequence_length"), "--adapters", ",".join(names),
                             "--rounds", arguments.rounds, "--threads", arguments.threads, "--json"))
    return {name: statistics.median(seconds[name]) for name in names}


def main() -> None:
    arguments = parse_arguments()
    changes = [word for change in arguments.changes for word in ("--set", change)]
    run = [word for change in arguments.changes if not change.startswith("sweep.") for word in ("--set", change)] + ["--set", "sweep=null"]
    trials = json.loads(say(arguments.program, "sweep", "export", arguments.config, *changes, "--json"))["trials"]
    unfinished = sum(trial["state"] in UNFINISHED for trial in trials)
    groups = groups_of(trials)
    if not groups:
        sys.exit(f"error: no trial of {arguments.config} is complete; start it with dormer sweep run {arguments.config}")
    if unfinished:
        print(f"{unfinished} trials are not finished yet", file=sys.stderr)
    times = times_of(arguments, changes, run, list(groups))
    first = next(iter(times.values()), None)
    rows = []
    for name, rates in groups.items():
        rate, chosen = best_of(rates)
        values = [trial["value"] for trial in chosen]
        spread = f" ± {(max(values) - min(values)) / 2:.4f}" if len(values) > 1 else ""
        edge = " (at the edge)" if len(rates) > 1 and rate in (min(rates), max(rates)) else ""
        parameters = chosen[0]["parameters"]
        memory = memory_of(arguments, run, chosen[0]["settings"])
        rows.append((statistics.mean(values), [
            shown(name), f"{statistics.mean(values):.4f}{spread}", f"{rate:.2g}{edge}" if rate is not None else "as written", f"{parameters / 1e6:.2f}",
            f"{4 * parameters / 1e6:.1f} MB", f"{memory:.2f} GB", f"{times[name] / first:.3f}" if times else "not measured"]))
    print("| adapter | held-out loss | best rate | million parameters | file in float32 | memory of an update | time of an update |")
    print("|---|---|---|---|---|---|---|")
    for _, cells in sorted(rows):
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
