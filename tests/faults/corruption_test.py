"""Checkpoints that are damaged, cut, mixed up, missing or foreign. A life sees it before it changes a weight, sets them aside with one
warning each, goes on from the one before, and finishes with the bytes of an undisturbed run. Every byte of a small checkpoint is damaged
in tests/storage/checkpoint_damage_test.cpp; here it is what the whole program makes of it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lives import PROGRAM, Life, commit_of, make_tiny, results, sweep, undisturbed

SETTINGS = {"steps": 8, "every": 2, "validate": 4, "keep": 3}
STEPS = (2, 4, 6)
SHARD, MANIFEST = "shard-00000-of-00001.h5", "manifest.json"


def begin(folder, name, **changed):
    """A run that was killed as it was about to commit its last checkpoint: those of 2, 4 and 6 updates are there. Returns it and the results
    of the undisturbed one."""
    settings = SETTINGS | changed
    whole, run = folder / f"{name}-whole", folder / name
    Life(run, folder, settings, call=commit_of(undisturbed(whole, folder, settings), 8), action="kill")
    assert sorted(path.name for path in (run / "checkpoints").glob("step-*")) == [place(step) for step in STEPS]
    return run, results(whole)


def place(step):
    return f"step-{step:09d}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def begun(folder):
    return begin(folder, "begun")


@pytest.fixture(scope="module")
def other(folder):
    """Another run of the same model and sizes, from another seed."""
    return begin(folder, "other", seed=4)[0]


def content(path):
    """What lies in a folder: bytes of files, targets of links, names of everything else."""
    return {str(entry.relative_to(path)): os.readlink(entry) if entry.is_symlink() else entry.read_bytes() if entry.is_file() else None
            for entry in sorted(path.rglob("*"))}


# Each damages the checkpoint of 6 updates in `parent`, or those that its row names.

def flip(name, share):
    """Changes one byte, at this share of the file."""
    def damage(parent):
        path = parent / place(6) / name
        data = bytearray(path.read_bytes())
        data[round(share * (len(data) - 1))] ^= 1
        path.write_bytes(data)
    return damage


def cut(name, size):
    """Leaves so many bytes; a negative number is counted from the end."""
    def damage(parent):
        path = parent / place(6) / name
        os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    return damage


def replaced(name, make):
    """Removes a file of the checkpoint and lets `make` put something in its place."""
    def damage(parent):
        path = parent / place(6) / name
        path.unlink()
        make(path)
    return damage


def swap(parent):
    first, second = (parent / place(step) / SHARD for step in (4, 6))
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def edit(old, new, steps=(6,)):
    """Writes another text into manifests."""
    def damage(parent):
        for step in steps:
            path = parent / place(step) / MANIFEST
            text = path.read_text()
            assert old in text
            path.write_text(text.replace(old, new))
    return damage


def taken_from(name, source):
    return replaced(name, lambda path: shutil.copy(source(path), path))


def older(path):
    return path.parents[1] / place(4) / path.name


def nothing(path):
    assert not path.exists()


def append(parent):
    with (parent / place(6) / SHARD).open("ab") as file:
        file.write(b"\0")


def empty_folder(parent):
    shutil.rmtree(parent / place(6))
    (parent / place(6)).mkdir()


def rename_folder(parent):
    (parent / place(6)).rename(parent / place(7))


CASES = {
    **{f"shard flipped at {share / 12:.2f}": (flip(SHARD, share / 12), [6]) for share in range(13)},
    **{f"manifest flipped at {share / 12:.2f}": (flip(MANIFEST, share / 12), [6]) for share in range(13)},
    **{f"shard cut to {size}": (cut(SHARD, size), [6]) for size in (0, 1, 512, 4096, -4096, -1)},
    **{f"manifest cut to {size}": (cut(MANIFEST, size), [6]) for size in (0, 1, 100, -3)},
    "shard with a tail": (append, [6]),
    "shard of zeros": (replaced(SHARD, lambda path: path.write_bytes(bytes(60_000))), [6]),
    "manifest of zeros": (replaced(MANIFEST, lambda path: path.write_bytes(bytes(4_000))), [6]),
    "no shard": (replaced(SHARD, nothing), [6]),
    "no manifest": (replaced(MANIFEST, nothing), [6]),
    "an empty folder": (empty_folder, [6]),
    "shards swapped": (swap, [6, 4]),
    "shard of an older checkpoint": (taken_from(SHARD, older), [6]),
    "manifest of an older checkpoint": (taken_from(MANIFEST, older), [6]),
    "folder under another step": (rename_folder, [7]),
    "another format": (edit("dormer.checkpoint/1", "dormer.checkpoint/2"), [6]),
    "a folder for a shard": (replaced(SHARD, Path.mkdir), [6]),
    "a folder for a manifest": (replaced(MANIFEST, Path.mkdir), [6]),
    "a pipe for a shard": (replaced(SHARD, os.mkfifo), [6]),
    "a pipe for a manifest": (replaced(MANIFEST, os.mkfifo), [6]),
    "a link to nothing for a shard": (replaced(SHARD, lambda path: path.symlink_to("absent")), [6]),
    "a link to itself for a shard": (replaced(SHARD, lambda path: path.symlink_to(path.name)), [6]),
    "a link to itself for a manifest": (replaced(MANIFEST, lambda path: path.symlink_to(path.name)), [6]),
    "a link to an older shard": (replaced(SHARD, lambda path: path.symlink_to(Path("..", place(4), SHARD))), [6]),
    "two bad manifests": (edit("dormer", "gable", (6, 4)), [6, 4]),
}


def copy_of(begun, name):
    run = begun.parent / name
    shutil.copytree(begun, run, symlinks=True)
    return run


def life_after(run, aside, wanted, folder):
    """Starts a run whose checkpoints of these steps are bad. Returns what is wrong, or nothing."""
    parent = run / "checkpoints"
    before = {step: content(parent / place(step)) for step in aside}
    expected = max(step for step in STEPS if step < aside[-1] and (parent / place(step)).exists())
    life = Life(run, folder, SETTINGS)
    if life.code != 0:
        return f"ended with {life.code}: {life.errors[-500:]}"
    warnings = life.lines("warning: ")
    if len(warnings) != len(aside) or not all(f"set aside as {parent / place(step)}.corrupt" in line for step, line in zip(aside, warnings)):
        return f"warned otherwise: {warnings}"
    if life.resumed_from() != expected or life.errors.index("training ") < life.errors.index(warnings[-1]):
        return f"went on from {life.resumed_from()} instead of {expected}, or looked too late"
    if any(content(parent / f"{place(step)}.corrupt") != before[step] for step in aside):
        return "what was set aside is not what was there"
    return None if results(run) == wanted else "other bytes, metrics or checkpoints than the undisturbed run"


def test_every_damage_is_seen_and_the_checkpoint_before_taken(folder, begun):
    begun, wanted = begun

    def attempt(name):
        run = copy_of(begun, "damaged-" + name.replace(" ", "-"))
        damage, aside = CASES[name]
        damage(run / "checkpoints")
        return life_after(run, aside, wanted, folder)

    sweep(list(CASES), attempt)


@pytest.mark.parametrize("name", [SHARD, MANIFEST])
def test_files_of_another_run_are_seen(folder, begun, other, name):
    begun, wanted = begun
    run = copy_of(begun, f"foreign-{name}")
    taken_from(name, lambda path: other / "checkpoints" / place(6) / name)(run / "checkpoints")
    problem = life_after(run, [6], wanted, folder)
    assert problem is None, problem


def test_a_link_to_the_very_bytes_is_as_good_as_they(folder, begun):
    begun, wanted = begun
    run = copy_of(begun, "linked")
    shard = run / "checkpoints" / place(6) / SHARD
    shard.rename(run / "elsewhere.h5")
    shard.symlink_to(run / "elsewhere.h5")
    life = Life(run, folder, SETTINGS)
    assert life.code == 0 and life.resumed_from() == 6 and not life.lines("warning: "), life.errors
    assert results(run) == wanted


def test_verify_tells_every_bad_checkpoint_in_a_line_and_changes_nothing(begun):
    begun, _ = begun

    def attempt(case):
        name, share = case
        run = copy_of(begun, f"verified-{name}-{share:.4f}")
        flip(name, share)(run / "checkpoints")
        before = content(run)
        done = subprocess.run([PROGRAM, "verify", str(run)], capture_output=True, text=True, timeout=60)
        good = done.returncode == 3 and done.stderr.count("\n") == 1 and place(6) in done.stderr and done.stdout.count(": good: ") == 2
        unchanged = content(run) == before
        shutil.rmtree(run)
        return None if good and unchanged else f"{done.returncode}: {done.stdout}{done.stderr}"

    sweep([(name, (index + 0.5) / 40) for name in (SHARD, MANIFEST) for index in range(40)], attempt)


@pytest.mark.parametrize("old, new", [("dormer", "gable"), ("xxh3", "crc3")])
def test_none_left_is_an_error_and_never_a_new_beginning(folder, begun, old, new):
    begun, wanted = begun
    run = copy_of(begun, f"none-left-{old}")
    edit(old, new, STEPS)(run / "checkpoints")
    for warned in (len(STEPS), 0):  # the second start finds them set aside, and says the same
        life = Life(run, folder, SETTINGS)
        assert life.code == 3 and len(life.lines("warning: ")) == warned, life.errors
        assert len(life.lines("error: ")) == 1 and "no good checkpoint is left" in life.errors
        assert sorted(path.name for path in (run / "checkpoints").glob("step-*")) == [f"{place(step)}.corrupt" for step in STEPS]
    shutil.copytree(begun / "checkpoints" / place(4), run / "checkpoints" / place(4))  # as the error says: put one back
    life = Life(run, folder, SETTINGS)
    assert life.code == 0 and life.resumed_from() == 4, life.errors
    assert results(run) == wanted


def refused(run, folder, *words):
    """A life that ends before it has changed anything, with one error that says these words."""
    before = [content(run / "checkpoints" / place(step)) for step in STEPS]
    life = Life(run, folder, SETTINGS)
    assert life.code == 2 and len(life.lines("error: ")) == 1 and not life.lines("warning: "), life.errors
    assert all(word in life.errors for word in words), life.errors
    assert [content(run / "checkpoints" / place(step)) for step in STEPS] == before


def test_a_whole_checkpoint_of_another_run_is_refused_with_the_difference(folder, begun, other):
    """It is in order, only not this experiment's: nothing is set aside, a person decides."""
    begun, wanted = begun
    run = copy_of(begun, "foreign")
    newest = run / "checkpoints" / place(6)
    shutil.rmtree(newest)
    shutil.copytree(other / "checkpoints" / place(6), newest)
    refused(run, folder, "run.seed: 4 -> 3")
    shutil.rmtree(newest)
    life = Life(run, folder, SETTINGS)
    assert life.code == 0 and life.resumed_from() == 4, life.errors
    assert results(run) == wanted


def test_checkpoints_of_another_model_are_refused(folder, begun):
    begun, wanted = begun
    run = copy_of(begun, "remodelled")
    weights = folder / "model" / "model.safetensors"
    good = weights.read_bytes()
    begin = 8 + int.from_bytes(good[:8], "little")
    weights.write_bytes(good[:begin] + bytes(4) + good[begin + 4:])
    try:
        refused(run, folder, "model: ")
    finally:
        weights.write_bytes(good)
    life = Life(run, folder, SETTINGS)
    assert life.code == 0 and results(run) == wanted, life.errors
