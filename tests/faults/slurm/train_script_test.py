"""What cluster/slurm/train.sbatch makes of a job's variables and of exit codes, with stand-ins for Slurm, the launchers and the program."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "cluster" / "slurm" / "train.sbatch"
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mine", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "2(x2)"}

# Keeps its arguments and the variables that matter; a launcher saves the update and ends with the code that the test asks for.
LAUNCHER = """\
#!/bin/bash
printf '%s\\n' "${0##*/}" "$@" > launched
printf '%s\\n' "$SLURM_GPU_BIND" "$SLURM_JOB_END_TIME" "$DORMER_CHAIN" > variables
if [ -n "$TEST_SAVES" ]; then
  mkdir -p "run/checkpoints/step-$TEST_SAVES"
  touch "run/checkpoints/step-$TEST_SAVES/manifest.json"
fi
if [ -n "$TEST_SIGNAL" ]; then
  exec python3 "$0.py"
fi
exit "${TEST_CODE:-0}"
"""
# The script shall pass a signal on: what comes before the launcher is ready for it is lost and does no harm, and is sent again.
SIGNALLED = """\
import os, signal, sys
os.kill(os.getpid(), signal.SIGUSR1)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getppid(), signal.Signals["SIG" + os.environ["TEST_SIGNAL"]])
print("passed on" if signal.sigtimedwait([signal.SIGUSR1], 30) else "lost", flush=True)
sys.exit(int(os.environ["TEST_CODE"]))
"""
STANDINS = {
    "mpirun": LAUNCHER,
    "mpirun.py": SIGNALLED,
    "srun": LAUNCHER,
    "dormer": '#!/bin/bash\nprintf "%s\\n" "$@" > asked\n[ -z "$TEST_BAD" ] || { echo "error: bad.yaml:1: run: no" >&2; exit 2; }\necho run\n',
    "squeue": '#!/bin/bash\n[ "$SLURM_TIME_FORMAT" = %s ] && echo "1900000000   "\n',
    "scontrol": '#!/bin/bash\n[ "$1" = --oneliner ] || echo "$*" >> requeued\n'
                '[ "$1" != --oneliner ] || echo "JobId=7 JobState=${TEST_STATE:-RUNNING} TimeLimit=01:00:00 Features=(null) Requeue=1"\n',
    "sbatch": '#!/bin/bash\nprintf "%s\\n" "$@" > submitted\nenv > submitted.env\necho 8\n',
}


# Of every rank, before the program.
DEAF = ["bash", "-c", "trap '' USR1; exec \"$0\" \"$@\""]


class Desk:
    """A working directory with the stand-ins in front of PATH."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in STANDINS.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)

    def run(self, *arguments, job=None, **variables):
        for name in ("launched", "requeued", "submitted"):
            (self.folder / name).unlink(missing_ok=True)
        environment = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "HOME": str(self.folder), **(JOB if job is None else job), **variables}
        self.done = subprocess.run(["bash", SCRIPT, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True)
        return self.done.returncode

    def lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_mpirun_gets_as_many_ranks_on_a_node_as_slurm_has_tasks(desk):
    assert desk.run("mine.yaml", "--set", "a.b=c d", NCCL_DEBUG="INFO", UCX_TLS="rc", OMP_PROC_BIND="true", LD_LIBRARY_PATH="/x", SECRET="y") == 0
    launched = desk.lines("launched")
    passed = {launched[index + 1] for index, word in enumerate(launched) if word == "-x"}
    assert passed == {"NCCL_DEBUG", "UCX_TLS", "OMP_PROC_BIND", "LD_LIBRARY_PATH", "SLURM_JOB_END_TIME", "DORMER_CHAIN"}
    assert launched[:7] == ["mpirun", "-np", "4", "--bind-to", "none", "--map-by", "ppr:2:node"]
    assert launched[-5:] == ["dormer", "train", "mine.yaml", "--set", "a.b=c d"]
    assert desk.lines("variables") == ["none", "1900000000", "7"]
    assert desk.lines("asked") == ["config", "get", "run.directory", "mine.yaml", "--set", "a.b=c d"]
    assert not desk.lines("requeued") and not (desk.folder / "run" / "lives.txt").exists()


def test_a_signal_before_a_rank_is_ready_does_not_end_it(desk):
    assert desk.run("mine.yaml") == 0
    assert desk.lines("launched")[-6:-3] == DEAF
    early = subprocess.run([*DEAF, "sh", "-c", 'kill -USR1 $$; exit "$1"', "sh", "85"])
    assert early.returncode == 85


def test_unequal_nodes_are_filled_by_slots(desk):
    assert desk.run("mine.yaml", job={**JOB, "SLURM_TASKS_PER_NODE": "3,1"}) == 0
    assert desk.lines("launched")[:6] == ["mpirun", "-np", "4", "--bind-to", "none", "-x"]


def test_srun_ends_with_the_first_dead_rank_and_keeps_the_cores_of_a_task(desk):
    assert desk.run("mine.yaml", DORMER_LAUNCHER="srun", SLURM_CPUS_PER_TASK="3") == 0
    assert desk.lines("launched") == ["srun", "--mpi=pmix", "-K1", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--cpus-per-task=3",
                                      *DEAF, "dormer", "train", "mine.yaml"]


def test_a_job_that_names_no_tasks_has_one_rank_on_each_node(desk):
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3", "SLURM_TASKS_PER_NODE": "64(x3)"}
    assert desk.run("mine.yaml", job=job) == 0
    assert desk.lines("launched")[:7] == ["mpirun", "-np", "3", "--bind-to", "none", "--map-by", "ppr:1:node"]


def test_container_program_and_options_are_words(desk):
    assert desk.run("mine.yaml", DORMER_LAUNCHER="srun", DORMER_SRUN_MPI="pmix_v4", DORMER_LAUNCHER_OPTIONS="--label -v",
                    DORMER_CONTAINER="env A=1", DORMER_PROGRAM=str(desk.folder / "bin" / "dormer")) == 0
    assert desk.lines("launched")[1] == "--mpi=pmix_v4"
    assert desk.lines("launched")[-10:] == ["--label", "-v", *DEAF, "env", "A=1", str(desk.folder / "bin" / "dormer"), "train", "mine.yaml"]


def test_an_index_of_an_array_stands_for_itself(desk):
    array = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "12"}
    assert desk.run("run-%a.yaml", "--set=run.directory=runs/%a", TEST_CODE="85", **array) == 0
    assert desk.lines("launched")[-2:] == ["run-12.yaml", "--set=run.directory=runs/12"]
    assert desk.lines("asked")[-2:] == ["run-12.yaml", "--set=run.directory=runs/12"]
    assert desk.lines("requeued") == ["requeue 5_12"]


@pytest.mark.parametrize("code", [85, 86, 137, 143, 205])
def test_what_another_life_may_help_goes_back_into_the_queue_twice_at_most_without_progress(desk, code):
    assert desk.run("mine.yaml", TEST_CODE=str(code)) == 0
    assert desk.lines("requeued") == ["requeue 7"]
    assert desk.run("mine.yaml", TEST_CODE=str(code), TEST_SAVES="000000080", SLURM_RESTART_COUNT="1") == 0
    assert desk.run("mine.yaml", TEST_CODE=str(code), SLURM_RESTART_COUNT="2") == 0
    assert desk.run("mine.yaml", TEST_CODE=str(code), SLURM_RESTART_COUNT="3") == code
    assert not desk.lines("requeued")
    assert [line.split()[:6] for line in desk.lines("run/lives.txt")] == [
        ["7", "7", "0", str(code), "0", "0"], ["7", "7", "1", str(code), "0", "80"], ["7", "7", "2", str(code), "80", "80"],
        ["7", "7", "3", str(code), "80", "80"]]
    # Another job begins to count anew.
    assert desk.run("mine.yaml", job={**JOB, "SLURM_JOB_ID": "9"}, TEST_CODE=str(code)) == 0
    assert desk.lines("requeued") == ["requeue 9"]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 70, 87, 127, 138, 139])
def test_other_failures_are_final(desk, code):
    assert desk.run("mine.yaml", TEST_CODE=str(code)) == code
    assert not desk.lines("requeued") and not desk.lines("submitted")


@pytest.mark.parametrize("signal", ["USR1", "TERM"])
def test_what_a_signal_broke_may_be_tried_again(desk, signal):
    for code in (1, 85, 138, 244):
        assert desk.run("mine.yaml", TEST_SIGNAL=signal, TEST_CODE=str(code), TEST_SAVES=f"{code:09}") == 0
        assert f"{signal}: the ranks shall save" in desk.done.stdout and "passed on" in desk.done.stdout
        assert desk.lines("requeued") == ["requeue 7"]
    assert desk.run("mine.yaml", TEST_SIGNAL=signal, TEST_CODE="4") == 4
    assert not desk.lines("requeued")


def test_what_slurm_has_decided_is_left_alone(desk):
    assert desk.run("mine.yaml", TEST_SIGNAL="TERM", TEST_CODE="85", TEST_STATE="COMPLETING") == 85
    assert not desk.lines("requeued") and not desk.lines("submitted") and not desk.lines("run/lives.txt")


def test_a_successor_is_asked_for_what_the_job_was(desk):
    assert desk.run("mine.yaml", "--set", "a=b", DORMER_REQUEUE="chain", TEST_CODE="85", SLURM_JOB_ACCOUNT="me", SLURM_JOB_PARTITION="gpu",
                    SLURM_CPUS_PER_TASK="3", SLURM_GPUS_PER_NODE="a100:2", SLURM_MEM_PER_NODE="64000") == 85
    assert not desk.lines("requeued")
    submitted = desk.lines("submitted")
    assert submitted[-4:] == [str(SCRIPT), "mine.yaml", "--set", "a=b"]
    assert set(submitted[:-4]) == {
        "--parsable", "--dependency=afterany:7", "--job-name=mine", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--open-mode=append",
        "--account=me", "--partition=gpu", "--cpus-per-task=3", "--gpus-per-node=a100:2", "--mem=64000", "--time=01:00:00"}
    variables = dict(line.split("=", 1) for line in desk.lines("submitted.env"))
    assert variables["DORMER_CHAIN"] == "7" and not [name for name in variables if name.startswith("SLURM_")]


def test_nothing_goes_on_where_that_is_not_wanted(desk):
    assert desk.run("mine.yaml", DORMER_REQUEUE="no", TEST_CODE="85") == 85
    assert not desk.lines("requeued") and not desk.lines("submitted")


def test_mistakes_end_before_a_launcher_starts(desk):
    assert desk.run("mine.yaml", TEST_BAD="yes") == 2
    assert "error: bad.yaml:1" in desk.done.stderr
    assert desk.run("mine.yaml", DORMER_LAUNCHER="prun") == 2
    assert "DORMER_LAUNCHER is 'prun'" in desk.done.stderr
    assert desk.run("mine.yaml", job={}) == 2
    assert "this is no Slurm job" in desk.done.stderr
    assert desk.run() == 2
    assert not desk.lines("launched")
