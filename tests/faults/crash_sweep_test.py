"""A run is ended at every single call that changes its folder, and refused space at every one that needs some: whatever was committed
loads, nothing that is left blocks, and the finished run has the bytes of an undisturbed one."""

import errno
import os
import re
import signal

import pytest

from lives import Life, calls, leftovers, make_tiny, results, sweep, undisturbed

# Its calls come in the same order in every life.
IN_ORDER = {"background": "false"}


def committed(made):
    """The newest step whose folder was renamed into place by these calls."""
    steps = [int(found[1]) for _, call, path in made if call == "rename" and (found := re.search(r"/checkpoints/step-(\d+)$", path))]
    return max(steps, default=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(folder):
    """An undisturbed life: its calls and what it leaves."""
    run = folder / "whole"
    made = undisturbed(run, folder, IN_ORDER)
    assert {call for _, call, _ in made} >= {"open", "write", "fsync", "rename", "mkdir", "unlink"}
    assert not leftovers(run)
    return made, results(run)


def finish_and_compare(folder, run, expected_step, wanted):
    """The next life of a run. Returns what is wrong, or nothing."""
    life = Life(run, folder)
    if life.code != 0:
        return f"the next life ended with {life.code}: {life.errors[-500:]}"
    if expected_step < 6 and life.resumed_from() != expected_step:
        return f"committed step {expected_step}, but it went on from {life.resumed_from()}"
    if results(run) != wanted:
        return "other bytes, metrics or checkpoints than the undisturbed run"
    if left := leftovers(run):
        return f"left behind: {left}"
    return None


@pytest.mark.parametrize("action", ["kill", "half"])
def test_killed_at_every_call(folder, whole, action):
    made, wanted = whole
    points = [point for point in made if action == "kill" or point[1] in ("write", "writev", "pwrite")]

    def attempt(point):
        number = point[0]
        run, log = folder / f"{action}-{number}", folder / f"{action}-{number}.log"
        life = Life(run, folder, IN_ORDER, log=log, call=number, action=action)
        if life.code != -signal.SIGKILL:
            return f"was not killed but ended with {life.code}"
        before = calls(log)[: number - 1]
        if [call for _, call, _ in before] != [call for _, call, _ in made[: number - 1]]:
            return "made other calls than the undisturbed run"
        return finish_and_compare(folder, run, committed(before), wanted)

    sweep(points, attempt)


# Training goes on while a checkpoint is written, so the n-th call is not the same one in every life: the calls of the life itself tell what
# was committed.
@pytest.mark.parametrize("action", ["kill", "half"])
def test_killed_while_writing_beside_the_training(folder, whole, action):
    made, wanted = whole
    points = range(2 if action == "kill" else 3, len(made), 3)

    def attempt(number):
        run, log = folder / f"beside-{action}-{number}", folder / f"beside-{action}-{number}.log"
        life = Life(run, folder, log=log, call=number, action=action)
        if life.code != -signal.SIGKILL:
            return f"was not killed but ended with {life.code}"
        return finish_and_compare(folder, run, committed(calls(log)[: number - 1]), wanted)

    sweep(points, attempt)


@pytest.mark.parametrize("code, every", [(errno.ENOSPC, 1), (errno.EDQUOT, 5)])
def test_no_space_from_every_call_on(folder, whole, code, every):
    made, wanted = whole
    points = [point for point in made if point[1] in ("open", "write", "writev", "mkdir")][::every]

    def attempt(point):
        number = point[0]
        run = folder / f"full-{code}-{number}"
        life = Life(run, folder, IN_ORDER, call=number, action=f"full:{code}")
        if life.code < 0:
            return f"died of signal {-life.code}: {life.errors[-500:]}"
        if life.code != 0 and os.strerror(code) not in life.errors:
            return f"ended with {life.code} without the reason: {life.errors[-500:]}"
        return finish_and_compare(folder, run, expected_step_of(run), wanted)

    sweep(points, attempt)


def expected_step_of(run):
    steps = [int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")] if (run / "checkpoints").exists() else []
    return max(steps, default=0)
