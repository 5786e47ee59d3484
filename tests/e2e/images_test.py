"""Runs of a small diffusion model on pictures of several sizes, with buckets, random cuts, flips, shuffled captions, dropout and noise: the same
bytes on any number of ranks, and after every rank was killed while the cache was filled and while it trained."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("support", "peers")]
import diffusion_run  # noqa: E402
from launched_run import MPIRUN, PROGRAM, kill_when  # noqa: E402

CONFIG = """
run: {{directory: {folder}/{run}, name: pictures, seed: 3, steps: 30, threads: 1, device: cpu}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 4, dropout: 0.1, decompose: {{axis: input}}, targets: attention-mlp}}
data:
  kind: images
  resolution: [64]
  buckets: {{step: 32, max_aspect: 2}}
  cache: {folder}/{cache}
  variations: 2
  captions: {{shuffle: {shuffle}, dropout: 0.1}}
  concepts:
    - {{path: {folder}/pictures, random_crop: true, flip_probability: 0.5}}
    - {{path: {folder}/held, role: validation}}
    - {{path: {folder}/held, role: prior, loss_weight: 0.5}}
batch: {{global: 4, micro: 1}}
objective: {{kind: denoise, loss: {{mse: 1.0, huber: 0.1}}, weighting: {{kind: min_snr}}, offset_noise: 0.05}}
optimizer: {{learning_rate: 5.0e-3}}
validation: {{every: 10, samples: 4}}
checkpoint: {{every: 5}}
samples: {{every: 10, prompts: [thing with colours, "another --d 7 --w 96 --l 1 --s 2", third --n dark], width: 64, height: 64, steps: 3, guidance: 4}}
export: [{{for: kohya}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    diffusion_run.make_pipeline("sd1", folder / "model")
    diffusion_run.make_pictures(folder / "pictures", 13, 1, sizes=((96, 64), (64, 96), (70, 70), (130, 64)))
    diffusion_run.make_pictures(folder / "held", 5, 2)
    return folder


def command(folder, run, ranks, cache="cache", shuffle="false"):
    config = folder / f"{run}.yaml"
    config.write_text(CONFIG.format(folder=folder, run=run, cache=cache, shuffle=shuffle))
    return [str(MPIRUN), str(ranks), PROGRAM, "train", str(config)]


def train(folder, run, ranks, **settings):
    return subprocess.run(command(folder, run, ranks, **settings), check=True, capture_output=True, text=True).stderr


def adapter(folder, run):
    return next((folder / run / "export" / "kohya").glob("*.safetensors")).read_bytes()


def pictures(folder, run):
    return {str(file.relative_to(folder / run)): file.read_bytes() for file in sorted((folder / run / "samples").rglob("*.png"))}


def evaluated(config, ranks, *words):
    """The losses that `dormer evaluate` prints, by what stands before them."""
    said = subprocess.run([str(MPIRUN), str(ranks), PROGRAM, "evaluate", str(config), *words], check=True, capture_output=True, text=True).stdout
    return {name.strip(): float(value) for name, value in re.findall(r"^(held-out loss|  of \S+) ([\d.]+)", said, re.M)}


@pytest.fixture(scope="module")
def whole(folder):
    said = train(folder, "whole", 1)
    assert re.search(r"encoding \d+ images and \d+ texts", said), said
    return adapter(folder, "whole")


def test_every_number_of_ranks_exports_the_same_bytes(folder, whole):
    for ranks in (2, 3, 4):
        said = train(folder, f"ranks-{ranks}", ranks, cache=f"cache-{ranks}")
        assert re.search(r"encoding \d+ images", said)
        assert adapter(folder, f"ranks-{ranks}") == whole, ranks
        assert pictures(folder, f"ranks-{ranks}") == pictures(folder, "whole"), ranks


def test_pictures_show_how_training_goes(folder, whole):
    made = pictures(folder, "whole")
    assert list(made) == [f"samples/step-{step:09}/{index:04}.png" for step in (0, 10, 20, 30) for index in range(3)]
    assert len(set(made.values())) == len(made)
    report = (folder / "whole" / "report.html").read_text()
    assert report.count('" src="data:image/png;base64,') == len(made) and "Picture 0002 after update 30" in report


def test_asked_to_stop_among_the_pictures(folder, whole):
    """The others are left out; training goes on where it was."""
    ended = subprocess.run(command(folder, "asked", 2), env=os.environ | {"DORMER_FAULT": "usr1:picture,step=10"}, capture_output=True, text=True)
    assert ended.returncode == 85 and "asked to stop while pictures were made" in ended.stderr, ended.stderr
    train(folder, "asked", 2)
    assert adapter(folder, "asked") == whole
    assert pictures(folder, "asked").items() <= pictures(folder, "whole").items()


def test_killed_while_encoding_and_while_training_gives_the_same_bytes(folder, whole):
    kill_when(command(folder, "killed", 2, cache="cache-killed"), "encoding")
    kill_when(command(folder, "killed", 3, cache="cache-killed"), "step 10: saved")
    train(folder, "killed", 2, cache="cache-killed")
    assert adapter(folder, "killed") == whole
    assert pictures(folder, "killed") == pictures(folder, "whole")


def test_held_out_concepts_are_told_apart(folder, whole):
    """Their means, weighed by their images, are the loss of all; the same on every number of ranks."""
    diffusion_run.make_pictures(folder / "others", 3, 9)
    found = []
    for ranks in (1, 3):
        run = f"concepts-{ranks}"
        line = command(folder, run, ranks)
        config = Path(line[4])
        config.write_text(config.read_text().replace("role: validation}", "role: validation, name: faces}\n    - {path: %s/others, role: validation}" % folder)
                          .replace("samples: 4", "samples: 8").replace("steps: 30", "steps: 2").replace("every: 10, samples", "every: 1, samples"))
        subprocess.run(line, check=True, capture_output=True)
        found.append([{name: value for name, value in json.loads(text).items() if name.startswith("validation_loss")}
                      for text in (folder / run / "metrics.jsonl").read_text().splitlines()])
    assert found[0] == found[1] and len(found[0]) == 3
    for measured in found[0]:
        assert set(measured) == {"validation_loss", "validation_loss.faces", "validation_loss.others"}
        assert measured["validation_loss"] == pytest.approx((5 * measured["validation_loss.faces"] + 3 * measured["validation_loss.others"]) / 8, rel=1e-12)
        assert measured["validation_loss.faces"] != measured["validation_loss.others"]
    exported = next((folder / "concepts-1" / "export" / "kohya").glob("*.safetensors"))
    for measured, words in ((found[0][0], ()), (found[0][-1], ("--adapter", exported))):
        for ranks in (1, 2):
            said = evaluated(folder / "concepts-1.yaml", ranks, *words)
            assert said["held-out loss"] == pytest.approx(measured["validation_loss"], abs=1.5e-6)  # six digits are printed
            assert said["of faces"] == pytest.approx(measured["validation_loss.faces"], abs=1.5e-6)
    assert found[0][0] != found[0][-1]
    report = (folder / "concepts-1" / "report.html").read_text()
    assert "faces" in report and "others" in report
    with_one = [json.loads(text) for text in (folder / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert not any(name.startswith("validation_loss.") for line in with_one for name in line)


def test_flow_on_every_number_of_ranks(folder):
    """Stable Diffusion 3.5 in small, with everything random on."""
    diffusion_run.make_pipeline("sd35", folder / "flow")
    adapters = []
    for ranks in (1, 3):
        run = f"flow-{ranks}"
        line = command(folder, run, ranks, cache="cache-flow")
        config = Path(line[4])
        config.write_text(config.read_text().replace("/model,", "/flow, train: [transformer],").replace("weighting: {kind: min_snr}", "timesteps: {distribution: logit_normal}")
                          .replace("steps: 30", "steps: 6").replace("for: kohya", "for: diffusers").replace("axis: input", "axis: output"))
        subprocess.run(line, check=True, capture_output=True)
        adapters.append((folder / run / "export" / "diffusers" / "pytorch_lora_weights.safetensors").read_bytes())
    assert adapters[0] == adapters[1]


def test_text_encoders_on_every_number_of_ranks(folder, whole):
    """They train beside the denoiser and stop early; their texts are encoded anew, with prior images, dropout and pictures as above."""
    adapters, images = [], []
    for ranks in (1, 3):
        run = f"texts-{ranks}"
        line = command(folder, run, ranks)
        config = Path(line[4])
        config.write_text(config.read_text().replace("/model,", "/model, train: [unet, text_encoder],").replace("steps: 30", "steps: 8").replace(
            "targets: attention-mlp}", "targets: attention-mlp, overrides: [{match: 'text_encoder*', learning_rate: 1.0e-2, stop_after: 5}]}"))
        said = subprocess.run(line, check=True, capture_output=True, text=True).stderr
        assert "0 texts" in said or "encoding" not in said, said
        adapters.append(adapter(folder, run))
        images.append(pictures(folder, run))
    assert adapters[0] == adapters[1]
    assert images[0] == images[1]
    names = load(adapters[0])
    text = {name: value for name, value in names.items() if name.startswith("lora_te_")}
    assert text and all(value.any() for name, value in text.items() if "lora_up" in name), "they have learned"
    last = [json.loads(line) for line in (folder / "texts-1" / "metrics.jsonl").read_text().splitlines()][-1]
    said = evaluated(folder / "texts-1.yaml", 1, "--adapter", str(next((folder / "texts-1/export/kohya").glob("*.safetensors"))))
    assert said["held-out loss"] == pytest.approx(last["validation_loss"], abs=1.5e-6), "by the text encoders of the adapter"
    sampled = folder / "sampled"
    done = subprocess.run([PROGRAM, "sample", "--model", folder / "model", "--adapter", next((folder / "texts-1/export/kohya").glob("*.safetensors")), "--prompt", "thing with colours", "--width", "64",
                           "--height", "64", "--steps", "3", "--guidance", "4", "--negative", "", "--sampler", "euler", "--dtype", "float32", "--device", "cpu", "--output", sampled],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert next(sampled.glob("*.png")).read_bytes() == images[0]["samples/step-000000008/0000.png"], "the same picture as the run's last"


def test_the_denoiser_is_measured(folder):
    words = [PROGRAM, "bench", "--model", folder / "model", "--samples", "1", "--rank", "4", "--rounds", "2", "--threads", "1"]
    said = json.loads(subprocess.run([*words, "--resolution", "64", "--adapters", "lora,dora,loha", "--json"], check=True, capture_output=True).stdout)
    assert {name: len(seconds) for name, seconds in said.items()} == {"forward": 2, "lora": 2, "dora": 2, "loha": 2}
    assert min(said["lora"]) > min(said["forward"]), "forward and backward take longer than forward"
    odd = subprocess.run([*words, "--resolution", "60"], capture_output=True, text=True)
    assert odd.returncode == 2 and "multiples of 64 pixels, not 60" in odd.stderr


def test_a_filled_cache_is_taken_as_it_is(folder, whole):
    said = train(folder, "again", 2)
    assert "encoding" not in said
    assert adapter(folder, "again") == whole


def test_a_cache_that_was_filled_beforehand_is_enough(folder, whole):
    line = command(folder, "beforehand", 2, cache="cache-beforehand")
    filled = subprocess.run([*line[:3], "cache", line[4]], capture_output=True, text=True, check=True).stderr
    assert re.search(r"encoding \d+ images and \d+ texts", filled) and "cache-beforehand" in filled, filled
    assert not (folder / "beforehand").exists(), "nothing but the cache was made"
    assert "encoding" not in train(folder, "beforehand", 2, cache="cache-beforehand")
    assert adapter(folder, "beforehand") == whole


def test_captions_that_vary_are_encoded_as_they_come_with_the_same_bytes(folder, whole):
    train(folder, "shuffled-1", 1, shuffle="true")
    train(folder, "shuffled-3", 3, shuffle="true")
    assert adapter(folder, "shuffled-1") == adapter(folder, "shuffled-3")
    assert adapter(folder, "shuffled-1") != whole


SWEEP = """
sweep:
  method: grid
  pack: 2
  keep: 1
  space:
    adapter.kind: [lora, loha]
    adapter.rank: [2, 4]
"""


def test_trials_of_a_sweep_keep_their_last_pictures(folder, whole):
    """Those of trials whose other files are gone, too: the bytes that each trial makes as a run of its own, and all of them in the report."""
    config = folder / "sweep.yaml"
    config.write_text(CONFIG.format(folder=folder, run="sweep", cache="cache", shuffle="false").replace("steps: 30", "steps: 6", 1) + SWEEP)
    subprocess.run([str(MPIRUN), "2", PROGRAM, "sweep", "run", str(config)], check=True, capture_output=True)
    trials = json.loads(subprocess.run([PROGRAM, "sweep", "export", config], check=True, capture_output=True, text=True).stdout)["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 4
    kept = sorted(path.name for path in (folder / "sweep" / "trials").iterdir())
    assert len(kept) == 1, kept
    made = {file.name: file.read_bytes() for file in (folder / "sweep" / "samples").iterdir()}
    assert sorted(made) == [f"{trial:06}-{prompt:04}.png" for trial in range(4) for prompt in range(3)]
    assert len(set(made.values())) == len(made)
    report = (folder / "sweep" / "report.html").read_text()
    assert report.count('" src="data:image/png;base64,') == len(made) and 'id="plot-timeline"' in report and "million trained parameters" in report
    assert trials[0]["parameters"] < trials[1]["parameters"]
    for trial in (trials[0], trials[3]):
        alone = command(folder, f"alone-{trial['trial']}", 1)[2:]
        settings = [f"--set={path}={value}" for path, value in trial["settings"].items()]
        subprocess.run([*alone, "--set=run.steps=6", *settings], check=True, capture_output=True)
        last = folder / f"alone-{trial['trial']}" / "samples" / "step-000000006"
        assert [file.read_bytes() for file in sorted(last.iterdir())] == [made[f"{trial['trial']:06}-{prompt:04}.png"] for prompt in range(3)]
