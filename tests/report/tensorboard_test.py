"""TensorBoard's own reader finds the scalars of metrics.jsonl in a run's event file: each step once, also after a restart."""

import shutil
import struct

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tiny_run import dormer, metrics, prepare

SCALARS = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "validation_loss")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    prepare(folder)
    return folder


def reader(run):
    return EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=True)


def expected(run, name):
    as_float = lambda value: struct.unpack("f", struct.pack("f", value))[0]
    return [(line["step"], as_float(line[name])) for line in metrics(run) if name in line]


def scalars(events, name):
    return [(event.step, event.value) for event in events.Scalars(name)]


def raw_steps(run):
    """Of every event with scalars, without what TensorBoard does about restarts."""
    files = sorted((run / "tensorboard").iterdir())
    return [event.step for file in files for event in EventFileLoader(str(file)).Load() if event.HasField("summary")]


def check(run, events):
    assert sorted(events.Tags()["scalars"]) == sorted(SCALARS)
    for name in SCALARS:
        assert scalars(events, name) == expected(run, name), name


def test_every_step_stands_once_also_for_a_reader_that_watched_the_restart(folder):
    run = folder / "run"
    dormer(folder, "train", "run.yaml")
    assert [line["step"] for line in metrics(run)] == list(range(61))
    watching = reader(run)
    watching.Reload()
    check(run, watching)
    times = {event.step: event.wall_time for event in watching.Scalars("loss")}

    # The run loses its newest checkpoint and goes on from update 40; its event file was torn besides.
    shutil.rmtree(run / "checkpoints" / "step-000000060")
    (file,) = (run / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    dormer(folder, "train", "run.yaml")
    fresh = reader(run)
    fresh.Reload()
    check(run, fresh)
    watching.Reload()
    check(run, watching)
    again = {event.step: event.wall_time for event in fresh.Scalars("loss")}
    assert all(again[step] == times[step] for step in range(1, 41))
    assert all(again[step] > times[60] for step in range(41, 61))
    assert raw_steps(run) == list(range(61))
