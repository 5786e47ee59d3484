"""Every rank is killed with SIGKILL at some update, and the run is started again with another number of ranks: the same bytes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from launched_run import STEPS, adapter, command, make_tiny, metrics, train, train_and_kill  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def test_killed_and_resumed_with_other_ranks_gives_the_same_bytes(folder):
    train(folder, "whole", 1)
    train_and_kill(folder, "killed", 2, after="step 40: saved")
    train_and_kill(folder, "killed", 3, after="step 120: saved")
    train_and_kill(folder, "killed", 1, after="step 200: saved")
    train(folder, "killed", 4)
    assert adapter(folder, "killed") == adapter(folder, "whole")
    assert metrics(folder, "killed") == metrics(folder, "whole")
    assert [line["step"] for line in metrics(folder, "killed")] == list(range(STEPS + 1))


def test_a_signal_to_the_launcher_saves_and_asks_for_a_requeue(folder):
    process = subprocess.Popen(command(folder, "stopped", 2), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in process.stderr:
        if "step 60: saved" in line:
            break
    process.send_signal(signal.SIGUSR1)
    errors = process.stderr.read()
    assert process.wait() == 85, errors
    train(folder, "stopped", 3)
    assert adapter(folder, "stopped") == adapter(folder, "whole")
    assert metrics(folder, "stopped") == metrics(folder, "whole")


def test_every_number_of_ranks_exports_the_same_bytes(folder):
    for ranks in (2, 3, 4):
        train(folder, f"ranks-{ranks}", ranks)
        assert adapter(folder, f"ranks-{ranks}") == adapter(folder, "whole"), ranks
        assert metrics(folder, f"ranks-{ranks}") == metrics(folder, "whole"), ranks
