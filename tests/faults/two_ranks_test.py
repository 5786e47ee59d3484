"""Two ranks, of which one is killed, stopped, delayed or wrong at a named point: the job ends as it promises, and the next life has the
bytes of an undisturbed run."""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lives import PROGRAM, make_tiny, results

MPIRUN = Path(__file__).parents[1] / "support" / "mpirun.sh"

CONFIG = """
run: {{directory: {run}, seed: 3, steps: 6, threads: 1, device: cpu, watchdog: {{step: 8 s, io: 8 s, start: 60 s}}}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 8, decompose: {{axis: auto}}, targets: all-linear}}
data: {{train: {folder}/train.h5, validation: {folder}/validation.h5, sequence_length: 16}}
batch: {{global: 4, micro: 2}}
optimizer: {{learning_rate: 1.0e-2, max_skipped: {max_skipped}}}
schedule: {{kind: cosine, warmup: 1}}
validation: {{every: 3, samples: 4}}
checkpoint: {{every: 2, background: {background}, keep: {{last: 2, best: 1}}}}
export: [{{for: peft}}]
"""

# Where a run may end between two updates and inside of a save, and on which rank.
POINTS = [(point, rank) for point in ("update", "gradient", "reduced", "updated", "gathered", "metrics") for rank in (0, 1)]
POINTS += [(point, 0) for point in ("save-begun", "save-made", "save-shard", "save-manifest", "save-synced", "save-committed", "save-hinted", "saved")]


class Life:
    """One start of the program on some ranks."""

    def __init__(self, run, folder, fault="", ranks=2, max_skipped=0, background=True):
        config = run.parent / f"{run.name}.yaml"
        config.write_text(CONFIG.format(run=run, folder=folder, max_skipped=max_skipped, background=str(background).lower()))
        environment = dict(os.environ) | {"DORMER_TEST_TIMEOUT": "100"}
        environment.pop("DORMER_FAULT", None)
        if fault:
            environment["DORMER_FAULT"] = fault
        done = subprocess.run([str(MPIRUN), str(ranks), PROGRAM, "train", str(config)], env=environment, capture_output=True, text=True)
        self.code, self.errors = done.returncode, done.stderr


def saved_steps(run):
    return [int(path.name[5:]) for path in (run / "checkpoints").glob("step-?????????")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(folder):
    """What an undisturbed run leaves."""
    life = Life(folder / "whole", folder)
    assert life.code == 0, life.errors
    return results(folder / "whole")


def finish_and_compare(folder, run, wanted):
    committed = max(saved_steps(run), default=0)
    life = Life(run, folder)
    assert life.code == 0, life.errors
    if committed < 6:
        assert f"updates {committed + 1} to 6" in life.errors, life.errors
    assert results(run) == wanted


@pytest.mark.parametrize("background", [True, False])
def test_killed_at_every_named_point(folder, whole, background):
    def attempt(case):
        point, rank = case
        run = folder / f"killed-{point}-{rank}-{background}"
        life = Life(run, folder, f"kill:{point},rank={rank},step=4", background=background)
        try:
            assert life.code == 137, f"ended with {life.code}: {life.errors[-800:]}"
            assert f"DORMER_FAULT: at '{point}' of step 4" in life.errors, life.errors
            finish_and_compare(folder, run, whole)
        except AssertionError as problem:
            return f"{case}: {problem}"
        return None

    points = POINTS if background else [point for point in POINTS if point[0].startswith("save")]
    with ThreadPoolExecutor(2) as pool:
        wrong = [problem for problem in pool.map(attempt, points) if problem]
    assert not wrong, "\n".join(wrong)
    print(f"{len(points)} of {len(points)}")


@pytest.mark.parametrize("action, point, rank", [("stop", "update", 1), ("stop", "reduced", 0), ("hang", "gradient", 1), ("stop", "save-shard", 0), ("hang", "save-shard", 0)])
def test_a_rank_that_hangs_is_named_and_ends_the_job(folder, whole, action, point, rank):
    run = folder / f"{action}-{point}-{rank}"
    life = Life(run, folder, f"{action}:{point},rank={rank},step=4")
    assert life.code == 86, life.errors
    blamed = re.findall(rf"(rank {rank} on host \S+ did not (?:answer|reach operation \d+))", life.errors)
    assert len(blamed) == 1, life.errors
    assert blamed[0].endswith("answer") == (action == "stop"), life.errors
    assert f"rank {1 - rank} on host" in life.errors and "waiting in operation" in life.errors, life.errors
    reports = {path.name for path in (run / "hung").glob("*.json")}
    assert reports == ({f"rank-0000{1 - rank}.json"} if action == "stop" else {"rank-00000.json", "rank-00001.json"})
    if point == "gradient":
        assert "nanosleep" in (run / "hung" / f"rank-0000{rank}.stack").read_text()
    finish_and_compare(folder, run, whole)
    assert not (run / "hung").exists() and (run / "hung.before").exists()


def test_a_slow_rank_is_no_alarm(folder, whole):
    run = folder / "slow"
    life = Life(run, folder, "delay:update,rank=1,seconds=1.5; delay:save-shard,rank=0,seconds=1.5")
    assert life.code == 0, life.errors
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line.get("straggler") for line in metrics if line["step"] > 0} == {1}
    assert all(line.get("straggler_ratio", 2.0) >= 1.5 for line in metrics)
    assert results(run) == whole
    assert len(re.findall(r"rank 1 takes \S+ times as long", life.errors)) == 1, life.errors


@pytest.mark.parametrize("rank", [0, 1])
def test_a_gradient_that_is_no_number_ends_the_run_before_it_does_harm(folder, whole, rank):
    run = folder / f"nan-{rank}"
    life = Life(run, folder, f"nan:gradient,rank={rank},step=4")
    assert life.code == 5, life.errors
    told = [line for line in life.errors.splitlines() if "update 5: the gradient is not finite" in line]
    assert len(told) == 1, life.errors
    finish_and_compare(folder, run, whole)


def test_updates_that_are_no_numbers_are_skipped_and_counted(folder):
    fault = "nan:gradient,rank=1,step=2; nan:gradient,rank=0,step=4"
    run = folder / "skipped"
    life = Life(run, folder, fault, max_skipped=2)
    assert life.code == 0, life.errors
    assert "update 3 was skipped (1 of at most 2): the gradient is not finite" in life.errors, life.errors
    lines = {line["step"]: line for line in results(run)[1]}
    assert [step for step, line in lines.items() if step > 0 and line["loss"] is None] == [3, 5]
    assert [lines[step].get("skipped") for step in (2, 3, 4, 5, 6)] == [None, 1, 1, 2, 2]

    # The same on one rank, and in two lives of which the first is killed in the update after a skipped one.
    for name, ranks, first in (("skipped-one", 1, None), ("skipped-lives", 2, "kill:update,rank=0,step=5")):
        other = folder / name
        alone = fault.replace("rank=1", "rank=0") if ranks == 1 else fault
        if first:
            assert Life(other, folder, f"{alone}; {first}", ranks, max_skipped=2).code == 137
        life = Life(other, folder, alone, ranks, max_skipped=2)
        assert life.code == 0, life.errors
        assert results(other) == results(run), name

    life = Life(folder / "too-many", folder, fault + "; nan:gradient,rank=0,step=5", max_skipped=2)
    assert life.code == 5, life.errors
    assert "update 6: the gradient is not finite" in life.errors


# One rank is told, at any time: both save once, at the same update, and ask to be started again.
@pytest.mark.parametrize("fault, saved", [
    ("usr1:opening,rank=1", 0), ("term:loaded,rank=0", 0), ("usr1:validation,rank=1,step=0", 0), ("usr1:update,rank=1,step=3", 4),
    ("term:gradient,rank=0,step=3", 4), ("usr1:updated,rank=1,step=1", 2), ("usr1:updated,rank=1,step=3", 3), ("usr1:validation,rank=1,step=3", 3),
    ("usr1:update,rank=0,step=3; term:gradient,rank=0,step=3; usr1:reduced,rank=1,step=3", 4), ("usr1:validation,rank=0,step=6", 6)])
def test_a_signal_to_one_rank_saves_and_asks_for_a_requeue(folder, whole, fault, saved):
    run = folder / re.sub(r"\W+", "-", fault)
    life = Life(run, folder, fault)
    assert life.code == 85, life.errors
    assert max(saved_steps(run), default=0) == saved, life.errors
    assert "error" not in life.errors, life.errors
    finish_and_compare(folder, run, whole)


def test_a_signal_during_a_save_is_heard_after_it(folder, whole):
    run = folder / "signal-during-save"
    life = Life(run, folder, "usr1:save-shard,rank=0,step=2", background=False)
    assert life.code == 85, life.errors
    assert saved_steps(run) and max(saved_steps(run)) == 3, life.errors
    finish_and_compare(folder, run, whole)


@pytest.mark.parametrize("point", ["export", "end"])
def test_a_signal_after_the_last_update_changes_nothing(folder, whole, point):
    run = folder / f"late-{point}"
    life = Life(run, folder, f"usr1:{point},rank=1; term:{point},rank=0")
    assert life.code == 0, life.errors
    assert results(run) == whole


def test_an_error_of_one_rank_ends_both_with_its_words(folder, whole):
    for point, rank in (("update", 1), ("loaded", 1), ("updated", 0)):
        run = folder / f"error-{point}"
        life = Life(run, folder, f"error:{point},rank={rank}" + (",step=4" if point != "loaded" else ""))
        assert life.code == 4, life.errors
        assert len([line for line in life.errors.splitlines() if f"an error at '{point}'" in line]) == 1, life.errors
        finish_and_compare(folder, run, whole)


@pytest.mark.parametrize("background", [True, False])
def test_a_save_that_fails_stops_nothing(folder, whole, background):
    run = folder / f"save-fails-{background}"
    life = Life(run, folder, "error:save-manifest,rank=0,step=4", background=background)
    assert life.code == 0, life.errors
    assert "step 4 was not saved" in life.errors and "training goes on" in life.errors
    assert results(run)[:2] == whole[:2]


def test_the_last_save_that_fails_is_an_error_of_all(folder, whole):
    run = folder / "last-fails"
    life = Life(run, folder, "error:save-manifest,rank=0,step=6")
    assert life.code == 4, life.errors
    assert len([line for line in life.errors.splitlines() if "could not be saved at step 6" in line]) == 1, life.errors
    finish_and_compare(folder, run, whole)


def test_a_fault_that_is_not_known_is_refused(folder):
    life = Life(folder / "refused", folder, "kill:lunch")
    assert life.code == 2, life.errors
    assert len([line for line in life.errors.splitlines() if "'lunch' is no point of a run" in line]) == 1, life.errors
