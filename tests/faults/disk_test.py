"""Disks that take nothing more while a run goes on: no space, no inodes, a folder that became read-only or immutable, a limit on the size
of files. Training goes on, the message names the file and how much is left to write, the checkpoint before stays whole, the program ends in order, and with
the disk back the run, or its next life, finishes with the bytes of an undisturbed one.

Disks are mounted in a name space of a process of the test's own, and are gone with it. Nothing waits for a time: a run is stopped at a line
of its log while its disk changes."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lives import PROGRAM, Life, command, leftovers, make_tiny, results

SETTINGS = {"steps": 600, "every": 20, "validate": 200, "keep": 2, "background": "false"}
SIZE_LIMIT = 16_384


class Disk:
    """A tmpfs at `place`, seen by the processes that `inside` starts. Their paths are the same; from here the files lie below `outside`."""

    def __init__(self, place, options):
        place.mkdir()
        script = 'mount -t tmpfs -o "$1" none "$2" && echo mounted && exec cat'
        self.holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "-", options, place],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "mounted\n"
        self.place = place

    def inside(self, *line):
        return ["nsenter", f"--target={self.holder.pid}", "--mount", "--", *map(str, line)]

    def run(self, *line):
        return subprocess.run(self.inside(*line), check=True, capture_output=True, text=True).stdout

    def outside(self, path):
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()


class Going:
    """A life that is under way."""

    def __init__(self, line):
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.told = []

    def wait_for(self, pattern):
        """Reads its log up to a line with this in it."""
        for line in self.process.stderr:
            self.told.append(line)
            if re.search(pattern, line):
                return line
        pytest.fail(f"it ended without '{pattern}':\n" + "".join(self.told[-30:]))

    @contextlib.contextmanager
    def stopped(self):
        """Holds it while something about it changes."""
        self.process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it ended before it was stopped"
        yield
        self.process.send_signal(signal.SIGCONT)

    def finish(self):
        self.told += self.process.stderr.readlines()
        return self.process.wait()

    def lines(self, begin):
        return [line for line in self.told if line.startswith(begin)]


# Each takes something of the disk away, and gives it back.

class NoSpace:
    OPTIONS = "size=24m"
    REASON = "No space left on device"

    def __init__(self, disk, going):
        self.filler = disk.outside(disk.place / "filler")

    def take(self):
        with self.filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def give_back(self):
        self.filler.unlink()


class NoInodes(NoSpace):
    OPTIONS = "size=24m,nr_inodes=200"

    def take(self):
        self.filler.mkdir()
        with contextlib.suppress(OSError):
            for number in range(1000):
                (self.filler / str(number)).touch()

    def give_back(self):
        for path in self.filler.iterdir():
            path.unlink()
        self.filler.rmdir()


class ReadOnly:
    """The folder of checkpoints alone: a mount whose files are open for writing cannot become read-only."""
    OPTIONS = "size=24m"
    REASON = "Read-only file system"

    def __init__(self, disk, going):
        self.disk, self.folder = disk, disk.place / "run" / "checkpoints"

    @staticmethod
    def prepare(disk):
        folder = disk.place / "run" / "checkpoints"
        disk.run("mkdir", "-p", folder)
        disk.run("mount", "--bind", folder, folder)

    def take(self):
        self.disk.run("mount", "-o", "remount,ro,bind", self.folder)

    def give_back(self):
        self.disk.run("mount", "-o", "remount,rw,bind", self.folder)


class Immutable:
    OPTIONS = "size=24m"
    REASON = "Operation not permitted"

    def __init__(self, disk, going):
        self.disk, self.folder = disk, disk.place / "run" / "checkpoints"

    def take(self):
        self.disk.run("chattr", "+i", self.folder)

    def give_back(self):
        self.disk.run("chattr", "-i", self.folder)


class SmallFiles:
    OPTIONS = "size=24m"
    REASON = "File too large"

    def __init__(self, disk, going):
        self.process = going.process

    def take(self):
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (SIZE_LIMIT, hard))

    def give_back(self):
        if self.process.poll() is None:  # the limit ends with the process
            hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (hard, hard))


def tmpfs_has_immutable_folders():
    """Since Linux 6.6."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder) / "probe", "size=1m")
        done = subprocess.run(disk.inside("sh", "-c", 'chattr +i "$1" && chattr -i "$1"', "-", disk.place), capture_output=True)
        disk.close()
        return done.returncode == 0


FAULTS = [NoSpace, NoInodes, ReadOnly, SmallFiles] + ([Immutable] if tmpfs_has_immutable_folders() else [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(folder):
    life = Life(folder / "whole", folder, SETTINGS)
    assert life.code == 0, life.errors
    return results(folder / "whole")


@pytest.fixture
def on_disk(folder, request):
    """Mounts a disk of a fault's own kind."""
    disks = []

    def make(fault):
        disk = Disk(folder / re.sub(r"\W+", "-", request.node.name), fault.OPTIONS)
        disks.append(disk)
        if hasattr(fault, "prepare"):
            fault.prepare(disk)
        return disk

    yield make
    for disk in disks:
        disk.close()


def named(line, disk, fault):
    """Whether a message says what, where and why."""
    return fault.REASON in line and str(disk.place / "run") in line


@pytest.mark.parametrize("fault", FAULTS)
def test_training_goes_on_and_saves_again_when_the_disk_is_back(folder, whole, on_disk, fault):
    disk = on_disk(fault)
    run = disk.place / "run"
    going = Going(disk.inside(*command(run, folder, **SETTINGS)))
    going.wait_for(r"step \d+: saved")
    trouble = fault(disk, going)
    with going.stopped():
        trouble.take()
    complaint = going.wait_for("was not saved")
    assert named(complaint, disk, fault) and "training goes on" in complaint, complaint
    going.wait_for("was not saved")  # and the next one is tried, too
    with going.stopped():
        good = disk.run(PROGRAM, "verify", run)
        assert good.count(": good: ") >= 1, good
        trouble.give_back()
    going.wait_for(r"step \d+: saved")
    assert going.finish() == 0, "".join(going.told[-30:])
    assert results(disk.outside(run)) == whole
    assert not leftovers(disk.outside(run))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_cannot_be_saved_ends_in_order_and_its_next_life_finishes(folder, whole, on_disk, fault):
    disk = on_disk(fault)
    run = disk.place / "run"
    line = disk.inside(*command(run, folder, **SETTINGS))
    going = Going(line)
    saved = int(re.search(r"step (\d+): saved", going.wait_for("saved"))[1])
    trouble = fault(disk, going)
    with going.stopped():
        trouble.take()
    code = going.finish()
    assert code == 4, f"{code}: " + "".join(going.told[-30:])
    assert len(going.lines("error: ")) == 1 and named(going.lines("error: ")[0], disk, fault), going.told[-30:]
    trouble.give_back()
    next_life = Going(line)
    resumed = int(re.search(r"\((\d+) of", next_life.wait_for("going on from"))[1])
    assert resumed >= saved
    assert next_life.finish() == 0, "".join(next_life.told[-30:])
    assert results(disk.outside(run)) == whole
    assert not leftovers(disk.outside(run))


def test_messages_of_full_disks_tell_how_much_is_left_to_write(folder, on_disk):
    disk = on_disk(NoSpace)
    run = disk.place / "run"
    going = Going(disk.inside(*command(run, folder, **SETTINGS)))
    going.wait_for("saved")
    with going.stopped():
        trouble = NoSpace(disk, going)
        trouble.take()
        room = 16_384
        os.truncate(trouble.filler, trouble.filler.stat().st_size - room)  # for the folder and a part of the shard
    complaint = going.wait_for("was not saved")
    assert re.search(r"shard-00000-of-00001\.h5 \(\d+ bytes are left to write\): No space left", complaint), complaint
    going.process.kill()
    going.finish()


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_disk_is_told_before_any_work(folder, on_disk, begun):
    disk = on_disk(NoSpace)
    run = disk.place / "run"
    line = disk.inside(*command(run, folder, **SETTINGS))
    if begun:
        going = Going(line)
        going.wait_for("saved")
        going.process.kill()
        going.finish()
    disk.run("mount", "-o", "remount,ro", disk.place)
    refused = Going(line)
    assert refused.finish() == 4
    assert len(refused.told) == 1 and "Read-only file system" in refused.told[0] and str(run) in refused.told[0], refused.told
    assert "choose another run.directory" in refused.told[0]


@pytest.mark.parametrize("fault", [NoSpace, NoInodes])
def test_a_full_disk_at_the_start_is_one_line(folder, on_disk, fault):
    disk = on_disk(fault)
    fault(disk, None).take()
    refused = Going(disk.inside(*command(disk.place / "run", folder, **SETTINGS)))
    assert refused.finish() == 4
    assert len(refused.told) == 1 and named(refused.told[0], disk, fault), refused.told
