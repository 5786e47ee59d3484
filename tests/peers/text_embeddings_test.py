"""States of T5 that launch/import_embeddings.py computed, beside diffusers' pipeline of Stable Diffusion 3 with T5 itself."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Config, T5EncoderModel

import diffusion_models
from diffusion_training_test import Run, loss_of, peer_of
from dormer_run import expect_close, run

IMPORT = Path(__file__).resolve().parents[2] / "launch" / "import_embeddings.py"
WIDTH = diffusion_models.TRANSFORMERS["sd35"]["joint_attention_dim"]


def make_t5(folder):
    """T5 in small, with its own kind of layers, and a tokenizer of words and letters."""
    words = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz0123456789,.é", "picture", "thing", "colours"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>").save_pretrained(folder / "tokenizer_3")
    torch.manual_seed(11)
    config = T5Config(vocab_size=len(words), d_model=WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu")
    encoder = diffusion_models.roughen(T5EncoderModel(config), 11)
    encoder.save_pretrained(folder / "text_encoder_3")
    return encoder


def import_states(texts, output, *arguments, status=0):
    result = subprocess.run([sys.executable, IMPORT, texts, "--output", output, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stderr
    return result.stderr


SAMPLES = {"every": 2, "prompts": ["a thing, é --s 3 --w 64 --h 64"], "negative": "colours", "sampler": "euler", "guidance": 4.0}


class Embedded(Run):
    """A run of Stable Diffusion 3.5 in small whose captions and prompts T5 reads, too."""

    def __init__(self, program, folder):
        super().__init__(folder, "sd35", "flow")
        self.t5 = make_t5(folder / "model")
        run(program, "cache", self.write(folder, 2, samples=SAMPLES), "--list-texts", folder / "texts.json")
        import_states(folder / "texts.json", folder / "t5.h5", "--model", folder / "model")
        self.groups["text"] = {"embeddings": str(folder / "t5.h5")}

    def write(self, folder, updates, **more):
        """A configuration whose run lies in a folder of its own."""
        config = folder / "run.yaml"
        config.write_text(yaml.safe_dump(
            {"run": {"directory": str(folder / "run"), "seed": 5, "steps": updates, "device": "cpu", "threads": 1}, **self.groups, **more}))
        return config

    def pipeline(self):
        folder = self.folder / "model"
        return StableDiffusion3Pipeline(
            transformer=self.unet, vae=self.vae, scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
            text_encoder=self.texts[0], tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            text_encoder_2=self.texts[1], tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
            text_encoder_3=self.t5, tokenizer_3=PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer_3"))


@pytest.fixture(scope="module")
def trainee(program, tmp_path_factory):
    return Embedded(program, tmp_path_factory.mktemp("embedded"))


@pytest.mark.parametrize("train", [["transformer"], ["transformer", "text_encoder_2"]], ids=["cached", "with-text"])
def test_the_text_of_an_update_is_that_of_diffusers_with_t5(program, trainee, train, tmp_path):
    """Cached states, and those that frozen encoders compute anew beside trained ones, whose adapters change nothing before the first update."""
    config = trainee.write(tmp_path, 1, export=[{"for": "kohya" if len(train) > 1 else "diffusers"}], model={**trainee.groups["model"], "train": train})
    run(program, "train", config, "--trace", "1-1")
    trace = load_file(next((tmp_path / "run" / "trace").iterdir()))
    pipeline = trainee.pipeline()
    for index, sample in enumerate(trace["samples"].tolist()):
        caption = (trainee.folder / "pictures" / f"picture{sample:02}.txt").read_text().strip()
        with torch.no_grad():
            wanted, _, pooled, _ = pipeline.encode_prompt(caption, caption, caption, do_classifier_free_guidance=False, device="cpu")
        assert wanted.shape[1:] == (77 + 256, WIDTH)
        assert wanted[0, 77:].abs().mean() > 0.01, "T5 says nothing"
        expect_close(trace[f"text.{index}"].numpy(), wanted.numpy(), 1e-5, "text")
        expect_close(trace[f"pooled.{index}"].numpy(), pooled.numpy(), 1e-5, "pooled")
    if len(train) == 1:
        torch.set_num_threads(1)
        peer, _ = peer_of(copy.deepcopy(trainee.unet), trace)
        expect_close(trace["loss"].numpy(), np.array([loss_of(peer, trace).item()]), 1e-4, "loss")


def test_any_number_of_ranks_and_half_the_bytes(program, trainee, tmp_path):
    """Two ranks read what one does; states in float16 are near those in float32."""
    half = tmp_path / "half.h5"
    import_states(trainee.folder / "texts.json", half, "--model", trainee.folder / "model", "--half")
    assert half.stat().st_size < 0.6 * (trainee.folder / "t5.h5").stat().st_size
    files = {}
    for name, states, launcher in (("one", trainee.folder / "t5.h5", ()), ("two", trainee.folder / "t5.h5", ("mpirun", "-np", "2", "--oversubscribe")),
                                   ("half", half, ())):
        (tmp_path / name).mkdir()
        config = trainee.write(tmp_path / name, 3, text={"embeddings": str(states)})
        result = subprocess.run([*launcher, program, "train", config], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        files[name] = (tmp_path / name / "run" / "export" / "diffusers" / "pytorch_lora_weights.safetensors")
    assert files["one"].read_bytes() == files["two"].read_bytes()
    assert files["one"].read_bytes() != files["half"].read_bytes()
    # Three updates by AdamW: what differs by half a thousandth moves no value by more than a little of the steps.
    ours, other = load_file(files["one"]), load_file(files["half"])
    distance = sum((ours[key] - other[key]).norm() ** 2 for key in ours) ** 0.5
    assert distance < 0.02 * sum(value.norm() ** 2 for value in ours.values()) ** 0.5


def test_pictures_are_of_prompts_that_t5_read(program, trainee, tmp_path):
    """While training and by `dormer sample`; without T5 they are others."""
    assert {"a thing, é", "colours"} < set(json.loads((trainee.folder / "texts.json").read_text()))
    run(program, "train", trainee.write(tmp_path, 2, samples=SAMPLES))
    command = ["sample", "--model", trainee.folder / "model", "--prompt", "a thing, é", "--negative", "colours", "--steps", 3, "--width", 64, "--height", 64,
               "--sampler", "euler", "--guidance", 4.0, "--seed", 0, "--dtype", "float32", "--device", "cpu"]
    run(program, *command, "--embeddings", trainee.folder / "t5.h5", "--output", tmp_path / "with")
    run(program, *command, "--output", tmp_path / "without")
    first = sorted((tmp_path / "run" / "samples").iterdir())[0] / "0000.png"
    pixels = [np.asarray(Image.open(path), dtype=int) for path in (first, tmp_path / "with" / "0000.png", tmp_path / "without" / "0000.png")]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1, "before the first update the model is as it was"
    assert np.abs(pixels[1] - pixels[2]).max() > 2, "T5 changes nothing"


@pytest.mark.parametrize("train", [["transformer"], ["transformer", "text_encoder_2"]], ids=["cached", "with-text"])
def test_a_plan_counts_the_states_that_there_are(program, trainee, train, tmp_path):
    """A sixteenth of T5's usual tokens: a plan that took those would be far off."""
    import_states(trainee.folder / "texts.json", tmp_path / "short.h5", "--model", trainee.folder / "model", "--tokens", "16")
    config = trainee.write(tmp_path, 2, text={"embeddings": str(tmp_path / "short.h5")}, export=[{"for": "kohya" if len(train) > 1 else "diffusers"}],
                           model={**trainee.groups["model"], "train": train}, samples=None)
    planned = json.loads(run(program, "plan", config, "--json"))["ranks"][0]["memory"]["tensors"]
    run(program, "train", config)
    measured = int(re.search(r"memory of rank 0: (\d+) bytes of tensors at most", (tmp_path / "run" / "log.txt").read_text()).group(1))
    assert abs(planned - measured) <= 0.1 * measured, (planned, measured)


class TestMistakes:
    def refused(self, program, trainee, status, *words, **groups):
        result = subprocess.run([program, "train", trainee.write(trainee.folder, 2, **groups)], capture_output=True, text=True, check=False)
        assert result.returncode == status, result.stderr
        assert len(result.stderr.strip().splitlines()[-1:]) == 1
        for word in words:
            assert word in result.stderr, result.stderr

    def changed(self, trainee, change):
        """A copy of the file with one thing changed, as `text.embeddings`."""
        path = trainee.folder / "changed.h5"
        shutil.copy(trainee.folder / "t5.h5", path)
        with h5py.File(path, "r+") as file:
            change(file)
        return {"embeddings": str(path)}

    def test_a_text_that_is_missing_is_named(self, program, trainee):
        def forget(file):
            del file["states/00000004"]

        self.refused(program, trainee, 3, "1 of 11 texts", "a picture of thing", "--list-texts", text=self.changed(trainee, forget))

    def test_a_file_that_is_none(self, program, trainee):
        self.refused(program, trainee, 3, "nowhere.h5", text={"embeddings": "nowhere.h5"})
        self.refused(program, trainee, 3, "no file of text states", text=self.changed(trainee, lambda file: file.attrs.modify("format", "other")))
        self.refused(program, trainee, 3, "sha256", text=self.changed(trainee, lambda file: file.attrs.__delitem__("sha256")))

    def test_states_that_are_none(self, program, trainee):
        def poison(file):
            for states in file["states"].values():
                states[0, 0] = np.nan

        def narrow(file):
            for name, states in list(file["states"].items()):
                text, values = states.attrs["text"], states[:, :8]
                del file["states"][name]
                file["states"].create_dataset(name, data=values).attrs["text"] = text

        def cut(file):
            text, values = file["states/00000002"].attrs["text"], file["states/00000002"][:5]
            del file["states/00000002"]
            file.create_dataset("states/00000002", data=values).attrs["text"] = text

        self.refused(program, trainee, 3, "not all finite", text=self.changed(trainee, poison))
        self.refused(program, trainee, 3, "8 wide", text=self.changed(trainee, narrow))
        self.refused(program, trainee, 3, "states/00000002", "5 x 48", text=self.changed(trainee, cut))

    def test_tags_that_change(self, program, trainee):
        self.refused(program, trainee, 2, "text.embeddings", data={**trainee.groups["data"], "captions": {"shuffle": True}})

    def test_a_model_without_a_place_for_it(self, program, trainee, tmp_path):
        other = Run(tmp_path, "sdxl")  # of the same pictures
        other.groups["text"] = trainee.groups["text"]
        (tmp_path / "run.yaml").write_text(yaml.safe_dump({"run": {"directory": str(tmp_path / "run"), "seed": 5, "steps": 1, "device": "cpu"}, **other.groups}))
        result = subprocess.run([program, "train", tmp_path / "run.yaml"], capture_output=True, text=True, check=False)
        assert result.returncode == 2 and "unet_2d_condition" in result.stderr, result.stderr

    def test_another_file_in_the_middle_of_a_run(self, program, trainee):
        def rename(file):
            file.attrs["sha256"] = "0" * 64

        run(program, "train", trainee.write(trainee.folder, 2))
        self.refused(program, trainee, 2, "text.embeddings", text=self.changed(trainee, rename), run={
            "directory": str(trainee.folder / "run"), "seed": 5, "steps": 4, "device": "cpu", "threads": 1})

    def test_what_the_script_refuses(self, trainee, tmp_path):
        texts = tmp_path / "texts.json"
        texts.write_text(json.dumps({"a": 1}))
        assert "no list of texts" in import_states(texts, tmp_path / "out.h5", "--model", trainee.folder / "model", status=1)
        texts.write_text(json.dumps(["a", "b"]))
        (tmp_path / "mine.py").write_text("import numpy as np\ndef encode(texts):\n    return np.full((len(texts), 3, 4), 1e5)\n")
        assert "too large for float16" in import_states(texts, tmp_path / "out.h5", "--function", f"{tmp_path / 'mine.py'}:encode", "--half", status=1)
        assert list(tmp_path.glob("out.h5*")) == []
        import_states(texts, tmp_path / "out.h5", "--function", f"{tmp_path / 'mine.py'}:encode")
        with h5py.File(tmp_path / "out.h5") as file:
            assert {states.attrs["text"] for states in file["states"].values()} == {"a", "b"}
