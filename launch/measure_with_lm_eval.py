#!/usr/bin/env python3
"""Measures an adapter, or a model that one was merged into, with EleutherAI's lm-evaluation-harness, and prints the value as
`dormer sweep` reads it: {"value": 0.61, "arc_easy": 0.61}. Of several tasks the value is the mean.

Wants the harness beside what PEFT wants: pip install lm_eval==0.4.13

Examples:
  launch/measure_with_lm_eval.py runs/quickstart/export/peft --model models/smollm2-135m --tasks arc_easy --metric acc --limit 200
  launch/measure_with_lm_eval.py runs/quickstart/export/merged --tasks my_task --tasks-in tasks --metric bits_per_byte

In a sweep, in place of the held-out loss:
  goal: maximize
  evaluate: .venv/bin/python launch/measure_with_lm_eval.py {adapter} --model models/smollm2-135m --tasks arc_easy --metric acc --limit 200
"""

import argparse
import json
import logging
import sys
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, metavar="FOLDER", help="what dormer exported for PEFT, or merged")
    parser.add_argument("--model", metavar="FOLDER", help="the frozen model below an adapter, as a folder or org/name")
    parser.add_argument("--tasks", required=True, nargs="+", metavar="NAME", help="the harness' tasks (lm_eval ls tasks lists them), or your own")
    parser.add_argument("--tasks-in", metavar="FOLDER", help="where the descriptions (YAML) of your own tasks lie")
    parser.add_argument("--metric", required=True, help="of the tasks' metrics the one that counts: acc, acc_norm, exact_match, bits_per_byte, …; with a filter as exact_match,strict-match")
    parser.add_argument("--limit", type=int, help="the first so many questions of each task (default: all)")
    parser.add_argument("--shots", type=int, help="solved examples before each question (default: the task's own)")
    parser.add_argument("--batch-size", type=int, default=8, help="default 8")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda:0, …")
    parser.add_argument("--dtype", default="float32", help="default float32")
    return parser.parse_args()


def model_arguments(arguments: argparse.Namespace) -> dict:
    """How the harness finds the model: its own weights, or another's with an adapter."""
    if (arguments.export / "adapter_config.json").is_file():
        if not arguments.model:
            sys.exit(f"error: {arguments.export} is an adapter: name the model that it was trained on with --model")
        return {"pretrained": arguments.model, "peft": str(arguments.export)}
    if (arguments.export / "config.json").is_file():
        return {"pretrained": str(arguments.export)}
    sys.exit(f"error: {arguments.export} holds neither adapter_config.json nor config.json: export for peft, or merged")


def value_of(task: str, results: dict, metric: str) -> float:
    """One number of a task's results, whose keys are `metric,filter`."""
    found = {key: value for key, value in results.items() if key == metric or key.split(",")[0] == metric}
    if len(found) != 1:
        names = sorted(key for key in results if "," in key and "_stderr" not in key)
        sys.exit(f"error: task {task} has {'no' if not found else 'more than one'} metric '{metric}'; it has {', '.join(names)}")
    return float(next(iter(found.values())))


def task_manager(folder: str | None, tasks: list[str]):
    """Knows the tasks. Reading the thousands that come with the harness takes seconds: only where they are asked for."""
    from lm_eval.tasks import TaskManager

    if folder is not None:
        own = TaskManager(include_path=folder, include_defaults=False)
        if set(tasks) <= set(own.all_tasks):
            return own
    return TaskManager(include_path=folder)


def main() -> None:
    arguments = parse_arguments()
    model = model_arguments(arguments)
    try:
        from lm_eval import simple_evaluate
    except ImportError as problem:
        sys.exit(f"error: the harness is not installed ({problem}): {sys.executable} -m pip install lm_eval==0.4.13")
    logging.disable(logging.WARNING)
    results = simple_evaluate(model="hf", model_args={**model, "dtype": arguments.dtype}, tasks=arguments.tasks, num_fewshot=arguments.shots,
                              batch_size=arguments.batch_size, device=arguments.device, limit=arguments.limit, bootstrap_iters=0, log_samples=False,
                              task_manager=task_manager(arguments.tasks_in, arguments.tasks))["results"]
    values = {task: value_of(task, results[task], arguments.metric) for task in arguments.tasks}
    print(json.dumps({"value": sum(values.values()) / len(values), **values}))


if __name__ == "__main__":
    main()
