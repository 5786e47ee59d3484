"""A small denoiser from nothing on real photographs, then adapted to others with each kind: losses that fall, samples in the report, and files with
which diffusers computes the same.

The autoencoder has random weights: a fixed projection of pictures, which the denoiser learns the latents of.
"""

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.numpy import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import diffusion_run
from dormer_run import expect_close, run

PHOTOGRAPHS = Path(importlib.util.find_spec("skimage").origin).parent / "data"  # not imported: it would want more packages
FIRST = ["astronaut.png", "chelsea.png", "motorcycle_left.png", "ihc.png", "hubble_deep_field.jpg"]
OTHER = ["brick.png", "grass.png", "gravel.png"]
SIDE = 64
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
KINDS = {"lora": {"kind": "lora", "targets": "attention-mlp"}, "dora": {"kind": "lora", "targets": "attention-mlp", "decompose": {"axis": "output"}},
         "locon": {"kind": "locon", "targets": "full"}, "loha": {"kind": "loha", "targets": "full"},
         "lokr": {"kind": "lokr", "targets": "full", "decompose": {"axis": "input"}}}
READ_BY_DIFFUSERS = ("lora", "dora", "locon")


def make_cuts(folder, names, count, seed):
    """Cuts of each photograph, with its name as the caption."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for name in names:
        photograph = Image.open(PHOTOGRAPHS / name).convert("RGB")
        photograph.thumbnail((256, 256), Image.LANCZOS)
        for index in range(count):
            left, top = (int(generator.integers(0, size - 96 + 1)) for size in photograph.size)
            stem = f"{Path(name).stem}{index:02}"
            photograph.crop((left, top, left + 96, top + 96)).resize((SIDE, SIDE), Image.LANCZOS).save(folder / f"{stem}.png")
            (folder / f"{stem}.txt").write_text(f"a photograph of {Path(name).stem}\n")


def make_model(folder):
    torch.manual_seed(11)
    vocabulary = diffusion_run.make_tokenizer(folder / "tokenizer", "<|endoftext|>")
    UNet2DConditionModel(block_out_channels=[32, 64], attention_head_dim=4, cross_attention_dim=32, norm_num_groups=8, layers_per_block=1, sample_size=16,
                         down_block_types=[CROSS, CROSS], up_block_types=["CrossAttnUpBlock2D"] * 2).save_pretrained(folder / "unet")
    vae = AutoencoderKL(block_out_channels=[16, 32, 32], layers_per_block=1, norm_num_groups=8, down_block_types=["DownEncoderBlock2D"] * 3,
                        up_block_types=["UpDecoderBlock2D"] * 3, scaling_factor=1.0)
    with torch.no_grad():  # a posterior that is almost a point, and latents with mean 0 and deviation 1 over the photographs
        vae.quant_conv.weight[4:], vae.quant_conv.bias[4:] = 0, -20
        pictures = np.stack([np.asarray(Image.open(file), np.float32) / 127.5 - 1 for file in sorted((folder.parent / "first").glob("*.png"))])
        means = vae.encode(torch.from_numpy(pictures).permute(0, 3, 1, 2)).latent_dist.mean
        deviation, mean = torch.std_mean(means, (0, 2, 3))
        vae.quant_conv.bias[:4] = (vae.quant_conv.bias[:4] - mean) / deviation
        vae.quant_conv.weight[:4] /= deviation[:, None, None, None]
    vae.save_pretrained(folder / "vae")
    CLIPTextModel(CLIPTextConfig(vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                                 max_position_embeddings=77, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1)).save_pretrained(folder / "text_encoder")
    EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def train(program, folder, name, model, data, adapter, steps, rate, exports):
    config = {"run": {"directory": str(folder / name), "seed": 3, "steps": steps, "threads": 2, "device": "cpu"},
              "model": {"path": str(model), "dtype": "float32"}, "adapter": adapter,
              "data": {"kind": "images", "resolution": [SIDE], "cache": str(folder / "cache"),
                       "concepts": [{"path": str(folder / data), "flip_probability": 0.5}, {"path": str(folder / f"{data}-held"), "role": "validation"}]},
              "batch": {"global": 4, "micro": 4}, "objective": {"kind": "denoise"}, "optimizer": {"learning_rate": rate, "weight_decay": 0.0},
              "schedule": {"kind": "cosine", "warmup": 5}, "validation": {"every": steps, "samples": 24},
              "samples": {"every": steps, "prompts": ["a photograph of grass --d 1", "a photograph of brick --d 2"], "width": SIDE, "height": SIDE, "steps": 8,
                          "guidance": 2.0}, "export": exports}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run([program, "train", folder / f"{name}.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses = [float(text) for text in re.findall(r"validation loss ([\d.]+)", (folder / name / "log.txt").read_text())]
    print(f"{name}: validation loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    return losses[0], losses[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for seed, (data, names) in enumerate((("first", FIRST), ("other", OTHER))):
        make_cuts(folder / data, names, 24, 2 * seed)
        make_cuts(folder / f"{data}-held", names, 8, 2 * seed + 1)
    make_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def learned(program, folder):
    """A denoiser that has learned the first photographs, every layer of it; its folder."""
    before, after = train(program, folder, "learned", folder / "model", "first", {"kind": "full", "targets": ["full", "conv_in", "conv_out"]}, 150, 2e-3,
                          [{"for": "merged"}])
    assert after < 0.4 * before, (before, after)  # found: 0.31
    return folder / "learned" / "export" / "merged"


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_learn_other_photographs_and_diffusers_computes_them(program, folder, learned, kind, tmp_path):
    exports = [{"for": "merged"}, {"for": "diffusers" if kind in READ_BY_DIFFUSERS else "kohya"}]
    rank = {"rank": 8, "alpha": 8, "factor": 4} if kind == "lokr" else {"rank": 8, "alpha": 8}
    before, after = train(program, folder, kind, learned, "other", {**KINDS[kind], **rank}, 80, 1e-2, exports)
    assert after < 0.985 * before, (before, after)  # found: 0.961 (loha) to 0.973 (lora)
    report = (folder / kind / "report.html").read_text()
    assert report.count('" src="data:image/png;base64,') == 4 and "after update 80" in report

    merged = UNet2DConditionModel.from_pretrained(folder / kind / "export" / "merged" / "unet")
    adapter = next((folder / kind / "export" / exports[1]["for"]).glob("*.safetensors"))
    generator = np.random.default_rng(5)
    arrays = {"latents": generator.standard_normal((2, 4, 16, 16)).astype(np.float32), "timesteps": np.array([41, 733], np.float32),
              "text": generator.standard_normal((2, 77, 32)).astype(np.float32)}
    save_file(arrays, tmp_path / "in.safetensors")
    run(os.path.join(os.environ["DORMER_BUILD"], "tests", "diffusion_probe"), "denoise", folder / kind / "export" / "merged", tmp_path / "in.safetensors",
        tmp_path / "out.safetensors")
    ours = load_file(tmp_path / "out.safetensors")["prediction"]
    given = [torch.from_numpy(arrays[name]) for name in ("latents", "timesteps", "text")]
    plain = UNet2DConditionModel.from_pretrained(learned / "unet")
    with torch.no_grad():
        expect_close(ours, merged(*given).sample.numpy(), 1e-4, "the merged denoiser's outputs")
        if kind in READ_BY_DIFFUSERS:
            plain.load_lora_adapter(str(adapter.parent), weight_name=adapter.name, prefix="unet")
            expect_close(ours, plain(*given).sample.numpy(), 1e-4, "outputs with the adapter's file")

    run(program, "sample", "--model", learned, "--adapter", adapter, "--prompt", "a photograph of grass", "--steps", 8, "--guidance", 2.0, "--seed", 5,
        "--width", SIDE, "--height", SIDE, "--dtype", "float32", "--output", tmp_path / "made")
    picture = np.asarray(Image.open(tmp_path / "made" / "0000.png"), np.int64)
    save_file({"like": np.zeros((1, 4, 16, 16), np.float32)}, tmp_path / "in.safetensors")
    run(os.path.join(os.environ["DORMER_BUILD"], "tests", "diffusion_probe"), "start", learned, tmp_path / "in.safetensors", tmp_path / "noise.safetensors", 5)
    pipeline = StableDiffusionPipeline(vae=AutoencoderKL.from_pretrained(learned / "vae"), text_encoder=CLIPTextModel.from_pretrained(learned / "text_encoder"),
                                       tokenizer=CLIPTokenizer.from_pretrained(learned / "tokenizer"), unet=merged, safety_checker=None, feature_extractor=None,
                                       scheduler=EulerDiscreteScheduler.from_pretrained(learned / "scheduler"))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline("a photograph of grass", num_inference_steps=8, guidance_scale=2.0, width=SIDE, height=SIDE, output_type="np",
                      latents=torch.from_numpy(load_file(tmp_path / "noise.safetensors")["noise"])).images[0]
    assert np.abs(picture - np.round(255 * theirs)).max() <= 2
