"""A sweep gives one table: whoever works at it, however many, and however often they are killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from launched_run import MPIRUN, PROGRAM, descendants, kill_all, make_tiny  # noqa: E402

POINTS = 12
STEPS = 24

CONFIG = """
run: {{directory: {folder}/{run}, seed: 3, steps: {steps}, threads: 1, device: cpu}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 8, targets: all-linear}}
data: {{train: {folder}/train.h5, validation: {folder}/validation.h5, sequence_length: 16}}
batch: {{global: 8, micro: 4}}
optimizer: {{learning_rate: 1.0e-3}}
schedule: {{kind: cosine, warmup: 2}}
validation: {{every: 12, samples: 8}}
checkpoint: {{every: 4}}
export: [{{for: peft}}]
sweep:
  method: {method}
  trials: {points}
  seeds: 2
  lag: 3
  stopping: {stopping}
  pack: {pack}
  space:
    optimizer.learning_rate: {{log: [1.0e-4, 3.0e-2]}}
    adapter.rank: [1, 4, 16]
    adapter.alpha: 2*adapter.rank
    adapter.decompose: [null, {{axis: output}}]
"""
HALVING = "{kind: halving, minimum_steps: 6, factor: 2}"


class Sweep:
    """A sweep's file and what dormer makes of it."""

    def __init__(self, folder, run, method="random", stopping=HALVING, pack=1, points=POINTS):
        self.directory = folder / run
        self.config = folder / f"{run}.yaml"
        self.config.write_text(CONFIG.format(folder=folder, run=run, steps=STEPS, method=method, stopping=stopping, pack=pack, points=points))

    def set(self, key, value):
        self.config.write_text(self.config.read_text() + f"  {key}: {value}\n")

    def command(self, word, *options, ranks=None):
        launcher = [] if ranks is None else [str(MPIRUN), str(ranks)]
        return [*launcher, PROGRAM, "sweep", word, str(self.config), *options]

    def run(self, ranks=None):
        done = subprocess.run(self.command("run", ranks=ranks), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    def say(self, word, *options):
        return subprocess.run(self.command(word, *options), check=True, capture_output=True, text=True).stdout

    def table(self):
        """Every trial without what depends on the clock and on who had it."""
        trials = json.loads(self.say("export"))["trials"]
        for trial in trials:
            trial.pop("worker")
            trial["measurements"] = [(one["step"], one["value"]) for one in trial["measurements"]]
            trial.pop("seconds", None)
        return trials

    def kill_after(self, measured, ranks=None):
        """Starts it and kills every process of it once that many trials were measured."""
        process = subprocess.Popen(self.command("run", "--quiet", ranks=ranks), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        journal = self.directory / "journal.jsonl"
        while process.poll() is None and not (journal.exists() and journal.read_text().count('"event":"measured"') >= measured):
            pass
        kill_all(process)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def alone(folder):
    sweep = Sweep(folder, "alone")
    sweep.run()
    return sweep


def test_halving_stops_what_it_should(alone):
    states = [trial["state"] for trial in alone.table()]
    assert len(states) == 2 * POINTS
    assert states.count("complete") == 2 * 3
    steps = sorted(trial["measurements"][-1][0] for trial in alone.table())
    assert steps == [6] * 12 + [12] * 6 + [24] * 6


def test_two_ranks_give_the_same_table(folder, alone):
    sweep = Sweep(folder, "ranks")
    sweep.run(ranks=2)
    assert sweep.table() == alone.table()


def test_packs_give_the_same_table(folder, alone):
    sweep = Sweep(folder, "packed", pack=5)
    for measured in (1, 8, 20, 29):
        sweep.kill_after(measured)
    sweep.run()
    assert sweep.table() == alone.table()


def test_packs_that_choose_their_width_give_the_same_table(folder, alone):
    sweep = Sweep(folder, "automatic", pack="auto")
    sweep.run()
    assert sweep.table() == alone.table()


@pytest.mark.parametrize("pack", [1, 3])
def test_ranks_that_train_a_trial_together_give_the_same_table(folder, alone, pack):
    """Two workers of two ranks each, killed on the way."""
    sweep = Sweep(folder, f"groups-{pack}", pack=pack)
    sweep.set("ranks_per_trial", 2)
    for measured in (0, 5, 19):
        sweep.kill_after(measured, ranks=4)
    sweep.run(ranks=4)
    assert sweep.table() == alone.table()


def test_a_plan_tells_the_time_of_devices(folder):
    """Nothing is known before anything ran; some updates of the first trial tell, and leave nothing behind; then the trials that stand do."""
    sweep = Sweep(folder, "timed", points=3)
    assert "nothing has run yet" in sweep.say("plan")
    timed = re.search(r"device-minutes at most: (\S+) s an update and (\S+) s a measurement of trial 0, timed here", sweep.say("plan", "--measure"))
    assert 0 < float(timed[1]) < 60
    assert not sweep.directory.exists()
    sweep.run()
    told = re.search(r"at most, by the (\S+) s an update of the trials that stand", sweep.say("plan"))
    trials = json.loads(sweep.say("export"))["trials"]
    assert float(told[1]) == pytest.approx(sum(trial["seconds"] for trial in trials) / sum(trial["steps"] for trial in trials), rel=5e-3)


def test_patience_ends_trials_by_themselves(folder):
    """Each by its own held-out losses, so that the table is the same in packs and on any number of workers."""
    tables = []
    for run, pack, ranks in (("patient", 1, None), ("patient-packed", 3, None), ("patient-ranks", 1, 2)):
        sweep = Sweep(folder, run, stopping="{kind: patience, patience: 1}", pack=pack, points=6)
        sweep.config.write_text(sweep.config.read_text().replace("validation: {every: 12,", "validation: {every: 2,").replace("[1.0e-4, 3.0e-2]", "[1.0e-3, 3.0e-1]"))
        sweep.run(ranks)
        tables.append(sweep.table())
    assert tables[0] == tables[1] == tables[2]
    steps = [trial["measurements"][-1][0] for trial in tables[0]]
    assert len(steps) == 12 and all(trial["state"] == "complete" for trial in tables[0])
    assert min(steps) < STEPS, "nobody lost patience"
    for trial in tables[0]:
        values = [value for _, value in trial["measurements"]]
        best = [min(values[:count + 1]) for count in range(len(values))]
        assert all(values[index] <= best[index - 1] for index in range(1, len(values) - 1)), "it ends at the first that is no better"


def test_ranks_must_make_whole_workers(folder):
    sweep = Sweep(folder, "odd")
    sweep.set("ranks_per_trial", 2)
    done = subprocess.run(sweep.command("run", ranks=3), capture_output=True, text=True)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "sweep.ranks_per_trial is 2 and there are 3 ranks" in errors[0]
    assert not (sweep.directory / "journal.jsonl").exists()


def test_a_signal_to_one_rank_of_a_worker_ends_it_in_order(folder, alone):
    sweep = Sweep(folder, "group-signalled")
    sweep.set("ranks_per_trial", 2)
    process = subprocess.Popen(sweep.command("run", ranks=2), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in process.stderr:
        if "waiting" in line:
            break
    ranks = [pid for pid in descendants(process.pid) if b"dormer" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]]
    os.kill(max(ranks), signal.SIGUSR1)
    process.stderr.read()
    assert process.wait() == 85
    sweep.run(ranks=2)
    assert sweep.table() == alone.table()


def test_other_data_under_the_same_name_is_refused(folder):
    sweep = Sweep(folder, "changed", stopping="{kind: none}", points=4)
    data = folder / "changed.h5"
    shutil.copy(folder / "train.h5", data)
    sweep.config.write_text(sweep.config.read_text().replace(f"train: {folder}/train.h5", f"train: {data}"))
    sweep.kill_after(3)
    shutil.copy(folder / "validation.h5", data)
    done = subprocess.run(sweep.command("run"), capture_output=True, text=True)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "data.train is not what it was when the sweep" in errors[0]
    assert not [trial for trial in sweep.table() if trial["state"] == "failed"]
    shutil.copy(folder / "train.h5", data)
    sweep.run()
    assert all(trial["state"] == "complete" for trial in sweep.table())


def test_killed_twenty_times_it_gives_the_same_table(folder, alone):
    sweep = Sweep(folder, "killed")
    for life in range(20):
        sweep.kill_after(2 * life, ranks=2 if life % 2 else None)
    sweep.run(ranks=2)
    assert sweep.table() == alone.table()


def test_a_learning_sampler_gives_one_table_too(folder):
    first = Sweep(folder, "tpe-alone", method="tpe", stopping="{kind: none}", points=14)
    first.run()
    second = Sweep(folder, "tpe-ranks", method="tpe", stopping="{kind: none}", points=14)
    second.kill_after(9, ranks=3)
    second.run(ranks=3)
    assert second.table() == first.table()


def test_the_best_trial_is_a_run_of_its_own(folder, alone):
    said = alone.say("best", "--for", "peft")
    complete = [trial for trial in alone.table() if trial["state"] == "complete"]
    best = json.loads(alone.say("export"))["trials"]
    points = {}
    for trial in complete:
        points.setdefault(trial["point"], []).append(trial["measurements"][-1][1])
    winner = min(points, key=lambda point: sum(points[point]))
    trial = min((one for one in best if one["point"] == winner), key=lambda one: one["measurements"][-1]["value"])
    assert said.startswith(f"trial {trial['trial']}: ")
    # The same settings as one run, typed as the report shows them.
    config = folder / "solo.yaml"
    config.write_text(alone.config.read_text().split("sweep:")[0].replace(f"{folder}/alone", f"{folder}/solo"))
    settings = [f"--set={path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in trial["settings"].items()]
    subprocess.run([PROGRAM, "train", config, *settings, f"--set=run.seed={3 + trial['replica']}", "--set=validation.keep_best=false"],
                   check=True, capture_output=True)
    exported = next((alone.directory / "best").rglob("adapter_model.safetensors")).read_bytes()
    assert exported == (folder / "solo" / "export" / "peft" / "adapter_model.safetensors").read_bytes()


def test_a_sweep_leaves_few_files(alone):
    trials = list((alone.directory / "trials").iterdir())
    assert len(trials) == 2  # one point is kept, under two seeds
    for trial in trials:
        files = [str(file.relative_to(trial)) for file in trial.rglob("*") if file.is_file() and file.name != "run.lock"]
        assert len(files) == 3, files


def test_the_same_line_again_does_nothing(alone):
    before = (alone.directory / "journal.jsonl").read_bytes()
    alone.run()
    assert (alone.directory / "journal.jsonl").read_bytes() == before


def test_another_sweep_is_refused_with_the_difference(folder, alone):
    other = Sweep(folder, "alone-other")
    other.config.write_text(alone.config.read_text().replace("3.0e-2", "1.0e-2"))
    done = subprocess.run(other.command("run"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "holds another sweep" in done.stderr and "0.03" in done.stderr and "0.01" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1


def test_a_trial_that_cannot_run_is_recorded_and_the_others_go_on(folder):
    sweep = Sweep(folder, "failing", stopping="{kind: none}", points=6)
    sweep.config.write_text(sweep.config.read_text().replace("adapter.rank: [1, 4, 16]", "adapter.rank: [1, 4, 33]"))
    sweep.run()
    trials = sweep.table()
    failed = [trial for trial in trials if trial["state"] == "failed"]
    assert failed and all(trial["settings"]["adapter.rank"] == 33 and "larger than a layer" in trial["reason"] for trial in failed)
    assert all(trial["state"] == "complete" for trial in trials if trial not in failed)


def test_kinds_are_compared_at_their_own_rates(folder):
    """launch/compare_adapters.py: of every kind the rate that serves it best, beside what it costs."""
    sweep = Sweep(folder, "kinds", method="grid", stopping="{kind: none}")
    text = sweep.config.read_text().replace("export: [{for: peft}]\n", "")  # which reads one axis alone
    sweep.config.write_text(text[:text.index("  trials:")] + "  seeds: 2\n" + """  space:
    zip:
      - adapter.kind: [lora, lora, lokr]
        adapter.decompose: [null, {axis: input}, {axis: output}]
    optimizer.learning_rate: [1.0e-9, 5.0e-3, 2.0e-2]
""")
    sweep.run(ranks=2)
    said = subprocess.run([sys.executable, Path(__file__).parents[2] / "launch" / "compare_adapters.py", sweep.config, "--program", PROGRAM, "--rounds", "2", "--threads", "1"],
                          check=True, capture_output=True, text=True).stdout
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in said.splitlines()]
    assert [len(row) for row in rows] == [7] * 5 and rows[0][0] == "adapter"
    found = {row[0]: row[1:] for row in rows[2:]}
    assert set(found) == {"LoRA", "DoRA, input axis", "LoKr with DoRA, output axis"}
    losses = [float(row[1].split(" ± ")[0]) for row in rows[2:]]
    assert losses == sorted(losses)
    trials = sweep.table()
    for name, decompose in (("LoRA", None), ("DoRA, input axis", "{axis: input}")):
        own = [trial for trial in trials if trial["settings"]["adapter.kind"] == "lora" and trial["settings"]["adapter.decompose"] == decompose]
        means = {rate: sum(trial["value"] for trial in own if trial["settings"]["optimizer.learning_rate"] == rate) / 2 for rate in (1e-9, 5e-3, 2e-2)}
        best = min(means, key=means.get)
        assert best > 1e-9
        assert found[name][0].startswith(f"{means[best]:.4f} ± ") and found[name][1].startswith(f"{best:.2g}"), (found[name], means)
        assert found[name][2] == f"{own[0]['parameters'] / 1e6:.2f}" and found[name][4].endswith(" GB")
        assert float(found[name][5]) > 0


def test_an_outside_optimizer_drives(folder):
    """A sweep without points of its own: a program adds what it proposes, workers train it, and the program reads the values."""
    sweep = Sweep(folder, "driven", stopping="{kind: none}", points=0)
    rates, values = [1.0e-4, 1.0e-3, 1.0e-2], {}
    planned = sweep.say("plan")
    assert "sweep add" in planned and "nan" not in planned, planned
    for generation in range(3):
        asked = {}
        for rate in rates:
            said = sweep.say("add", "--with", f"optimizer.learning_rate={rate!r}", "--with", "adapter.rank=4", "--with", "adapter.decompose={axis: output}")
            assert "adapter.alpha: 8" in said, said
            asked[int(said.split()[1].rstrip(":"))] = rate
        sweep.run(ranks=2 if generation else None)
        for trial in sweep.table():
            if trial["trial"] in asked:
                assert trial["state"] == "complete" and float(trial["settings"]["optimizer.learning_rate"]) == asked[trial["trial"]]
                values[asked[trial["trial"]]] = trial["value"]
        best = min(values, key=values.get)
        rates = [best / 2, best * 2]
    assert len(values) >= 6 and len(sweep.table()) == 7
    best = min(sweep.table(), key=lambda trial: trial["value"])
    assert f"trial {best['trial']}" in sweep.say("best") + sweep.say("status"), sweep.say("status")
    for words, told in ((["--with", "adapter.rank=4"], "the point has no optimizer.learning_rate and no adapter.decompose"),
                        (["--with", "adapter.rank=4", "--with", "optimizer.learning_rate=1e-3", "--with", "adapter.decompose=null", "--with", "adapter.alpha=3"],
                         "adapter.alpha: the sweep's space does not leave that open"),
                        (["--with", "adapter.rank=0", "--with", "optimizer.learning_rate=1e-3", "--with", "adapter.decompose=null"], "adapter.rank")):
        done = subprocess.run(sweep.command("add", *words), capture_output=True, text=True)
        assert done.returncode == 2 and told in done.stderr, done.stderr
    assert len(sweep.table()) == 7


def test_outside_programs_ask_and_tell(folder):
    sweep = Sweep(folder, "outside", stopping="{kind: none}", points=2)
    for number in range(4):
        trial = json.loads(sweep.say("ask", "--worker", "mine"))
        assert trial["trial"] == number and trial["until"] == STEPS
        rate = float(trial["settings"]["optimizer.learning_rate"])
        sweep.say("tell", str(number), "--attempt", str(trial["attempt"]), "--step", str(STEPS), "--value", str(rate))
    assert sweep.say("ask") == "null\n"
    assert all(trial["state"] == "complete" for trial in sweep.table())


def test_signals_save_and_the_next_life_goes_on(folder, alone):
    sweep = Sweep(folder, "signalled")
    process = subprocess.Popen(sweep.command("run"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in process.stderr:
        if "2 waiting" in line or "1 waiting" in line or "waiting" in line:
            break
    process.send_signal(signal.SIGUSR1)
    process.stderr.read()
    assert process.wait() == 85
    sweep.run()
    assert sweep.table() == alone.table()


def test_a_worker_starts_once_for_all_its_trials(folder):
    """64 trials of two updates in one process, beside as many processes that train one each: loading LibTorch and the model is paid once."""
    sweep = Sweep(folder, "started-once", stopping="{kind: none}", points=32)
    short = sweep.config.read_text().replace(f"steps: {STEPS}", "steps: 2").replace("every: 12, samples: 8", "every: 2, samples: 8")
    sweep.config.write_text(short)
    begin = time.monotonic()
    sweep.run()
    together = time.monotonic() - begin
    assert len(sweep.table()) == 64
    alone = []
    for number in range(3):
        single = folder / f"alone-{number}.yaml"
        single.write_text(short.split("sweep:")[0].replace("started-once", f"started-alone-{number}"))
        begin = time.monotonic()
        subprocess.run([PROGRAM, "train", str(single), "--quiet"], check=True, capture_output=True)
        alone.append(time.monotonic() - begin)
    ratio = together / (64 * min(alone))
    print(f"64 trials in {together:.2f} s; one alone {min(alone):.2f} s; ratio {ratio:.3f}")
    assert ratio < 0.5  # one start-up each would be 1; what is left are the trials' own updates, files and measurements


def test_another_program_measures(folder):
    """Its number decides, at rungs too: here the size of the exported file, which is the rank's."""
    sweep = Sweep(folder, "measured", points=6)
    text = sweep.config.read_text().replace("  pack: 1", "  evaluate: stat -c %s {adapter}/adapter_model.safetensors\n  pack: 1")
    sweep.config.write_text(text.replace("adapter.decompose: [null, {axis: output}]", "optimizer.weight_decay: [0.0, 0.1]"))
    sweep.run()
    table = sweep.table()
    complete = {trial["settings"]["adapter.rank"] for trial in table if trial["state"] == "complete"}
    assert min(trial["settings"]["adapter.rank"] for trial in table) in complete
    assert all(value > 1000 for trial in table for _, value in trial["measurements"])


GRID = """
sweep:
  method: grid
  stopping: {stopping}
  space:
    optimizer.learning_rate: {{log: [3.0e-4, 3.0e-2], steps: 16}}
    adapter.rank: [2, 4, 8, 16]
"""


def test_halving_finds_what_the_whole_grid_finds(folder):
    """64 points of 192 updates: within 0.01 of the best loss, for an eighth of the updates; killed twenty times it is the same table."""
    halving = "{kind: halving, minimum_steps: 8, factor: 4}"
    tables = {}
    for name, stopping, kills in (("grid", "{kind: none}", 0), ("halved", halving, 0), ("halved-killed", halving, 20)):
        sweep = Sweep(folder, name)
        text = sweep.config.read_text().split("sweep:")[0].replace(f"steps: {STEPS}", "steps: 192")
        text = text.replace("every: 12, samples: 8", "every: 192, samples: 16").replace("micro: 4", "micro: 8").replace("every: 4}", "every: 96}")
        sweep.config.write_text(text + GRID.format(stopping=stopping))
        for kill in range(kills):
            sweep.kill_after(4 * kill + 3, ranks=2)  # of 84 measurements
        sweep.run(ranks=2)
        tables[name] = sweep.table()
    best = {name: min(trial["value"] for trial in table if trial["state"] == "complete") for name, table in tables.items()}
    updates = {name: sum(trial["steps"] for trial in table) for name, table in tables.items()}
    print(best, updates)
    assert len(tables["grid"]) == len(tables["halved"]) == 64
    assert tables["halved-killed"] == tables["halved"]
    assert updates["halved"] <= updates["grid"] / 8
    assert best["halved"] <= best["grid"] + 0.01
