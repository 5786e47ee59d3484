"""cluster/slurm/train.sbatch in a real Slurm: a run that is preempted, runs out of time or is requeued ends with the bytes of an undisturbed
one, and what would fail again is not started again. Jobs are submitted at once and run beside each other."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm_cluster import Cluster, wait_for

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
from preload import preload  # noqa: E402

PROGRAM = os.environ["DORMER_PROGRAM"]
BUILD = Path(os.environ["DORMER_BUILD"])
SCRIPT = Path(__file__).parents[3] / "cluster" / "slurm" / "train.sbatch"
LAUNCHERS = ("mpirun", "srun")
STEPS = 120
SLOW_DISK = preload(BUILD / "tests" / "slow_disk.so", PROGRAM)
# Starting ranks takes seconds where other tests run on the same cores, and ten times as long over sanitized programs: fewer jobs at once, then.
# Patience is a deadline, not a measure. With the slow disk a run is longer than the limit (in minutes; Slurm's shortest is 1) and than the lives
# that end themselves (in seconds).
SANITIZED = ":" in SLOW_DISK
CORES, PATIENCE, LIMIT, LIFE, LINE_MILLISECONDS = (3, 2400, 2, 40, 900) if SANITIZED else (16, 200, 1, 10, 600)

CONFIG = """
run: {{directory: {folder}/whole, seed: 3, steps: {steps}, threads: 1, device: cpu}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 8, decompose: {{axis: auto}}, targets: all-linear}}
data: {{train: {folder}/train.h5, validation: {folder}/validation.h5, sequence_length: 16}}
batch: {{global: 8, micro: 1}}
optimizer: {{learning_rate: 1.0e-3}}
validation: {{every: 50, samples: 8}}
checkpoint: {{every: 20}}
export: [{{for: peft}}]
"""

# Beside CONFIG: four tasks of an array work at it, and one of them is told to save on the way.
SWEEP = """
sweep:
  method: random
  trials: 16
  stopping: {kind: halving, minimum_steps: 15, factor: 2}
  space: {optimizer.learning_rate: {log: [1.0e-4, 1.0e-2]}, adapter.rank: [2, 8]}
"""

# The first life has a slow disk: whatever ends it comes before its last update.
SLOW_PROGRAM = """\
#!/bin/sh
if [ "$1" = train ]; then
  run=$(echo "$TEST_RUN" | sed "s/%a/$SLURM_ARRAY_TASK_ID/")
  [ -e "$run/run.lock" ] || {{ DORMER_SLOW_MILLISECONDS={milliseconds}; export DORMER_SLOW_MILLISECONDS; }}
  LD_PRELOAD={shim}; export LD_PRELOAD
fi
exec {program} "$@"
"""
KILLED_PROGRAM = """\
#!/bin/sh
[ "$1" != train ] || kill -KILL $$
exec {program} "$@"
"""

# The "nodes" are one machine under several names: Open MPI must not take them for one that shares memory, and needs no other interface.
VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "self,tcp", "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_oob_tcp_if_include": "lo",
    "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_odls_base_sigkill_timeout": "2", "PMIX_MCA_gds": "hash",
}


class Job:
    """A run of two ranks, submitted, and what shall happen to it."""

    def __init__(self, bench, name, *options, program="slow", settings=(), variables=None, disturb=None):
        self.cluster = bench.cluster
        self.run = bench.folder / name
        self.log_file = bench.folder / f"{name}.log"
        self.number = self.cluster.submit(
            "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", f"--output={self.log_file}", f"--chdir={bench.folder}", *options,
            SCRIPT, bench.config, "--set", f"run.directory={self.run}", *(word for setting in settings for word in ("--set", setting)),
            variables={**VARIABLES, "DORMER_PROGRAM": str(bench.programs[program]), "TEST_RUN": str(self.run), **(variables or {})})
        self.disturbed = bench.threads.submit(disturb, self) if disturb else None

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_for_updates(self, count):
        metrics = self.run / "metrics.jsonl"
        wait_for(f"{count} updates of job {self.number}", lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > count, PATIENCE)

    def end(self):
        if self.disturbed:
            self.disturbed.result()
        return self.cluster.wait_for_end(self.number, PATIENCE)

    def lives(self):
        """(exit code, saved update before, after) of every life that did not end with the run's end."""
        path = self.run / "lives.txt"
        return [tuple(map(int, line.split()[3:6])) for line in path.read_text().splitlines()] if path.exists() else []


def slurm(*command):
    """Something that one command does to a job, once it has made some updates."""
    def disturb(job):
        job.wait_for_updates(3)
        job.cluster.command(*command, job.number)
    return disturb


def signal_early(job):
    """Slurm's signal comes before the ranks are there."""
    wait_for(f"begin of job {job.number}", lambda: ", life 0," in job.log(), PATIENCE)
    job.cluster.command("scancel", "--batch", "--signal=USR1", job.number)


def kill_rank_1(job):
    job.wait_for_updates(3)
    mark = f"TEST_RUN={job.run}".encode()
    for entry in Path("/proc").iterdir():
        try:
            variables = set((entry / "environ").read_bytes().split(b"\0")) if entry.name.isdigit() else set()
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
        if mark in variables and b"PMIX_RANK=1" in variables:
            os.kill(int(entry.name), signal.SIGKILL)


class Bench:
    """The cluster, the model and data of all runs, and all jobs: they run beside each other, and each test looks at its own."""

    def __init__(self, folder, cluster, threads):
        self.folder = folder
        self.cluster = cluster
        self.threads = threads
        subprocess.run([BUILD / "tests" / "make_tiny_run", folder], check=True)
        self.config = folder / "run.yaml"
        self.config.write_text(CONFIG.format(folder=folder, steps=STEPS))
        self.programs = {"dormer": PROGRAM}
        for name, text in (("slow", SLOW_PROGRAM), ("killed", KILLED_PROGRAM)):
            self.programs[name] = folder / name
            self.programs[name].write_text(text.format(
                program=shlex.quote(PROGRAM), shim=shlex.quote(SLOW_DISK), milliseconds=LINE_MILLISECONDS))
            self.programs[name].chmod(0o755)
        # The undisturbed run, on one rank and without Slurm.
        self.whole = folder / "whole"
        subprocess.run([PROGRAM, "train", self.config], check=True, capture_output=True)
        self.jobs = {}

    def submit(self, name, *options, **more):
        self.jobs[name] = Job(self, name, *options, **more)

    def submit_all(self):
        for launcher in LAUNCHERS:
            by = {"DORMER_LAUNCHER": launcher}
            # The ones with a limit first: they take longest. A signal that does nothing, so that only the program watches the time.
            self.submit(f"limit-{launcher}", f"--time={LIMIT}", "--signal=B:CONT@1", variables=by)
            # A minute is Slurm's shortest limit, and it may send the signal half a minute early.
            self.submit(f"signal-{launcher}", f"--time={LIMIT}", "--signal=B:USR1@15", settings=["run.time_limit=null"], variables=by)
            self.submit(f"preempt-{launcher}", "--partition=patient", variables=by)
            self.submit(f"requeue-{launcher}", variables=by, disturb=slurm("scontrol", "requeue"))
            self.submit(f"term-{launcher}", variables=by, disturb=slurm("scancel", "--full", "--signal=TERM"))
            self.submit(f"early-{launcher}", variables=by, disturb=signal_early)
            self.submit(f"kill-{launcher}", variables=by, disturb=kill_rank_1)
        self.urgent = self.threads.submit(self.preempt)
        self.submit("cancel", disturb=slurm("scancel"))
        self.submit("chain", "--time=7", settings=[f"run.time_limit={LIFE}"], variables={"DORMER_REQUEUE": "chain"})
        self.submit("never-requeued", "--no-requeue", "--time=7", "--mem=100M", settings=[f"run.time_limit={LIFE}"])
        self.submit("crash", program="killed", variables={"DORMER_LAUNCHER": "srun"})
        for index in (0, 2):
            (self.folder / f"data-{index}.h5").symlink_to("train.h5")
        self.submit("array-%a", "--array=0-2", settings=[f"data.train={self.folder}/data-%a.h5", f"run.time_limit={LIFE}"])
        self.sweep = self.folder / "sweep.yaml"
        self.sweep.write_text(CONFIG.format(folder=self.folder, steps=STEPS).replace("/whole", "/sweep") + SWEEP)
        self.sweepers = self.cluster.submit("--array=0-3", "--nodes=1", "--ntasks=1", f"--output={self.folder}/sweep-%a.log",
                                            f"--chdir={self.folder}", SCRIPT, "--sweep", self.sweep,
                                            variables={**VARIABLES, "DORMER_PROGRAM": PROGRAM})
        self.threads.submit(self.signal_a_sweeper)
        self.submitted = self.cluster.command(PROGRAM, "submit", self.config, "--nodes", "2", "--time", "5", "--set",
                                              f"run.directory={self.folder}/submitted", "--sbatch=--requeue", variables=VARIABLES)
        self.unjoined = {
            name: self.cluster.submit("--nodes=2", "--ntasks=2", f"--output={self.folder}/{name}.log",
                                      f"--wrap={start} {shlex.quote(PROGRAM)} train {self.config}")
            for name, start in (("step", "srun --mpi=none"), ("lone", "exec"))}

    def measured(self, directory):
        journal = directory / "journal.jsonl"
        return journal.read_text().count('"event":"measured"') if journal.exists() else 0

    def signal_a_sweeper(self):
        wait_for("some trials of the sweep", lambda: self.measured(self.folder / "sweep") >= 4, PATIENCE)
        self.cluster.command("scancel", "--batch", "--signal=USR1", f"{self.sweepers}_1")

    def preempt(self):
        """Takes the nodes away from two jobs, as soon as both have made some updates."""
        for launcher in LAUNCHERS:
            self.jobs[f"preempt-{launcher}"].wait_for_updates(3)
        return self.cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", f"--output={self.folder}/urgent.log", "--wrap=true")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with ThreadPoolExecutor(16) as threads:
        cluster = Cluster(CORES)
        try:
            bench = Bench(tmp_path_factory.mktemp("slurm"), cluster, threads)
            bench.submit_all()
            yield bench
        finally:
            cluster.close()


def adapter(run):
    return (run / "export" / "peft" / "adapter_model.safetensors").read_bytes()


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]


def require_same(run, bench):
    assert adapter(run) == adapter(bench.whole)
    assert metrics(run) == metrics(bench.whole)
    assert [line["step"] for line in metrics(run)] == list(range(STEPS + 1))


def require_further_life(bench, name):
    """The job ended well, after a life that was cut short, with the bytes of the undisturbed run. On a busy machine it may have had more lives."""
    job = bench.jobs[name]
    ended = job.end()
    assert ended["JobState"] == "COMPLETED" and int(ended["Restarts"]) >= 1, job.log()
    assert "life 1, 2 ranks on 2 nodes" in job.log()
    require_same(job.run, bench)
    return job


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_requeued_from_outside(bench, launcher):
    job = require_further_life(bench, f"requeue-{launcher}")
    assert "TERM: the ranks shall save" in job.log()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_told_to_end_with_time_left(bench, launcher):
    """So Slurm begins a preemption with a grace time where it does not send the job's own signal."""
    job = require_further_life(bench, f"term-{launcher}")
    assert "TERM: the ranks shall save" in job.log() and "back into the queue" in job.log()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_signalled_before_the_ranks_are_there(bench, launcher):
    job = require_further_life(bench, f"early-{launcher}")
    assert "USR1: the ranks shall save" in job.log()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_preempted(bench, launcher):
    urgent = bench.urgent.result()
    job = require_further_life(bench, f"preempt-{launcher}")
    assert "USR1: the ranks shall save" in job.log()
    code, before, after = job.lives()[0]
    assert (code, before) == (85, 0) and 3 <= after < STEPS
    assert bench.cluster.wait_for_end(urgent, PATIENCE)["JobState"] == "COMPLETED"


def test_a_cancelled_job_saves_and_stays_cancelled(bench):
    job = bench.jobs["cancel"]
    job.end()
    wait_for("the end of the script", lambda: not bench.cluster.is_queued(job.number), PATIENCE)
    ended = bench.cluster.job(job.number)
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
    assert "TERM: the ranks shall save" in job.log()
    assert not job.lives()


def test_one_failing_index_leaves_the_others_of_an_array_alone(bench):
    """And each of them goes back into the queue by itself."""
    array = bench.jobs["array-%a"].number
    ended = [bench.cluster.wait_for_end(f"{array}_{index}", PATIENCE) for index in range(3)]
    log = (bench.folder / "array-1.log").read_text()
    assert [job["JobState"] for job in ended] == ["COMPLETED", "FAILED", "COMPLETED"], log
    assert (ended[1]["ExitCode"], ended[1]["Restarts"]) == ("3:0", "0"), log
    assert "a failure that another life would repeat" in log
    for index in (0, 2):
        assert int(ended[index]["Restarts"]) >= 1
        require_same(bench.folder / f"array-{index}", bench)


def sweep_table(bench, config):
    table = json.loads(subprocess.run([PROGRAM, "sweep", "export", config], check=True, capture_output=True, text=True).stdout)["trials"]
    return [(trial["trial"], trial["state"], trial["settings"], [(one["step"], one["value"]) for one in trial["measurements"]]) for trial in table]


def test_an_array_of_workers_gives_the_table_of_one_process(bench):
    ended = [bench.cluster.wait_for_end(f"{bench.sweepers}_{index}", PATIENCE) for index in range(4)]
    logs = [(bench.folder / f"sweep-{index}.log").read_text(errors="replace") for index in range(4)]
    assert [job["JobState"] for job in ended] == ["COMPLETED"] * 4, logs
    alone = bench.folder / "sweep-alone.yaml"
    alone.write_text(bench.sweep.read_text().replace("/sweep,", "/sweep-alone,"))
    subprocess.run([PROGRAM, "sweep", "run", alone], check=True, capture_output=True)
    table = sweep_table(bench, bench.sweep)
    assert table == sweep_table(bench, alone)
    assert len(table) == 16 and {state for _, state, _, _ in table} == {"complete", "stopped"}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_rank_ends_the_life_and_not_the_job(bench, launcher):
    job = require_further_life(bench, f"kill-{launcher}")
    assert job.lives()[0][0] == 137


def test_what_dies_again_is_not_requeued_for_ever(bench):
    job = bench.jobs["crash"]
    ended = job.end()
    assert (ended["JobState"], ended["Restarts"], ended["ExitCode"]) == ("FAILED", "1", "137:0"), job.log()
    assert job.lives() == [(137, 0, 0), (137, 0, 0)]
    assert "two lives saved no further update: no further life" in job.log()


@pytest.mark.parametrize("name", ["chain", "never-requeued"])
def test_successors_go_on_where_a_job_is_not_requeued(bench, name):
    job = bench.jobs[name]
    wait_for("the last life", lambda: "exit code 0, saved update" in job.log(), PATIENCE)
    successors = re.findall(r"job (\d+) goes on", job.log())
    assert successors
    assert bench.cluster.wait_for_end(successors[-1], PATIENCE)["JobState"] == "COMPLETED"
    first = bench.cluster.job(job.number)
    assert (first["JobState"], first["ExitCode"], first["Restarts"]) == ("FAILED", "85:0", "0")
    assert len(job.lives()) == len(successors)
    # What was asked of the first is asked of those that follow, too.
    last = bench.cluster.job(successors[-1])
    same = ("NumNodes", "NumTasks", "TimeLimit", "Partition", "StdOut", "NtasksPerN:B:S:C", "Requeue", "MinMemoryNode")
    assert {key: last[key] for key in same} == {key: first[key] for key in same}
    require_same(job.run, bench)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_slurms_signal_before_the_time_limit(bench, launcher):
    job = require_further_life(bench, f"signal-{launcher}")
    assert "USR1: the ranks shall save" in job.log()
    assert {code for code, _, _ in job.lives()} == {85}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_program_saves_before_the_time_limit_by_itself(bench, launcher):
    job = require_further_life(bench, f"limit-{launcher}")
    assert "shall save" not in job.log()
    code, before, after = job.lives()[0]
    assert (code, before) == (85, 0) and 0 < after < STEPS


def test_tasks_that_nobody_joined_are_refused(bench):
    """They would train alone, each of them, and write over each other."""
    for name, reason in (("step", "srun started 2 tasks without PMIx"), ("lone", "this Slurm job has 2 tasks")):
        ended = bench.cluster.wait_for_end(bench.unjoined[name], PATIENCE)
        log = (bench.folder / f"{name}.log").read_text()
        assert ended["ExitCode"] == "2:0" and reason in log, log


def test_a_submitted_run_is_such_a_job(bench):
    number = re.search(r"Submitted batch job (\d+)$", bench.submitted)[1]
    ended = bench.cluster.wait_for_end(number, PATIENCE)
    assert ended["JobState"] == "COMPLETED", (bench.folder / f"submitted-{number}.log").read_text()
    assert (ended["JobName"], ended["TimeLimit"], ended["NumTasks"]) == ("submitted", "00:05:00", "2")
    require_same(bench.folder / "submitted", bench)
