"""Samplers and pictures against diffusers: trajectories within 1e-5 of the largest, pictures within 2 of 255 levels from the same noise."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import diffusion_run
from dormer_run import expect_close, run

SHARED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def make_scheduler(kind, **options):
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

    if kind == "ddim":
        return DDIMScheduler(clip_sample=False, **{"set_alpha_to_one": False, **SHARED, **options})
    kinds = {"euler": EulerDiscreteScheduler, "euler_a": EulerAncestralDiscreteScheduler, "dpmpp_2m": DPMSolverMultistepScheduler}
    return kinds[kind](**{"timestep_spacing": "leading", **SHARED, **options})


@pytest.fixture(scope="session")
def probe():
    return os.path.join(os.environ["DORMER_BUILD"], "tests", "diffusion_probe")


def expect_diffusers_trajectory(probe, kind, steps, scheduler, folder, monkeypatch, shrinks=False):
    """Within 1e-5; where latents shrink a hundredfold in a step, roundings of what they were remain in what is left."""
    scheduler.save_pretrained(folder / "scheduler")
    generator = np.random.default_rng(steps)
    arrays = {"start": generator.standard_normal((1, 4, 3, 5)).astype(np.float32), "steps": np.zeros(steps, np.float32)}
    arrays |= {f"noise.{step}": generator.standard_normal((1, 4, 3, 5)).astype(np.float32) for step in range(steps)}
    save_file(arrays, folder / "in.safetensors")
    run(probe, "sampler", folder, folder / "in.safetensors", folder / "out.safetensors", kind)
    ours = load_file(folder / "out.safetensors")

    noises = iter(torch.from_numpy(arrays[f"noise.{step}"]) for step in range(steps))
    if kind == "euler_a":
        from diffusers.schedulers import scheduling_euler_ancestral_discrete

        monkeypatch.setattr(scheduling_euler_ancestral_discrete, "randn_tensor", lambda *_, **__: next(noises))
    scheduler.set_timesteps(steps)
    latents = torch.from_numpy(arrays["start"]) * scheduler.init_noise_sigma
    assert len(scheduler.timesteps) == steps
    largest = 0.0
    for step, timestep in enumerate(scheduler.timesteps):
        output = 0.3 * torch.tanh(scheduler.scale_model_input(latents, timestep)) + float(timestep) / 5000
        largest = max(largest, latents.abs().max().item())
        latents = scheduler.step(output, timestep, latents).prev_sample
        rounding = 4 * 2**-24 * largest / latents.abs().max().item() if shrinks else 0.0
        expect_close(ours[f"latents.{step}"], latents.numpy(), max(1e-5, rounding), f"latents after step {step}")


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("kind", ["ddim", "euler", "euler_a", "dpmpp_2m"])
def test_trajectories_equal_those_of_diffusers(probe, kind, steps, prediction, tmp_path, monkeypatch):
    expect_diffusers_trajectory(probe, kind, steps, make_scheduler(kind, prediction_type=prediction), tmp_path, monkeypatch)


@pytest.mark.parametrize("steps", [2, 7, 16, 48])
@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("kind", ["ddim", "euler", "euler_a", "dpmpp_2m"])
def test_timesteps_are_spaced_as_the_folders_scheduler_says(probe, kind, spacing, steps, tmp_path, monkeypatch):
    options = {"set_alpha_to_one": True} if kind == "ddim" else {}
    expect_diffusers_trajectory(probe, kind, steps, make_scheduler(kind, timestep_spacing=spacing, steps_offset=0, **options), tmp_path, monkeypatch)


@pytest.mark.parametrize("steps", [7, 20])
@pytest.mark.parametrize("kind", ["ddim", "euler", "euler_a", "dpmpp_2m"])
def test_zero_terminal_snr_begins_without_signal(probe, kind, steps, tmp_path, monkeypatch):
    scheduler = make_scheduler(kind, timestep_spacing="trailing", rescale_betas_zero_snr=True, prediction_type="v_prediction")
    expect_diffusers_trajectory(probe, kind, steps, scheduler, tmp_path, monkeypatch, shrinks=kind.startswith("euler"))


def sampled(program, folder, arguments):
    run(program, "sample", "--model", folder / "model", "--prompt", "a red thing", "--negative", "blue", "--steps", 6, "--guidance", 3.0, "--seed", 5,
        "--width", 128, "--height", 64, "--dtype", "float32", "--output", folder / "made", *arguments)
    return np.asarray(Image.open(folder / "made" / "0000.png"), np.int64)


def expect_pipelines_picture(ours, pipeline, adapted, folder):
    """The picture of diffusers' pipeline from the noise in the folder, with the run's adapter where there is one."""
    pipeline.set_progress_bar_config(disable=True)
    ask = {"prompt": "a red thing", "negative_prompt": "blue", "num_inference_steps": 6, "guidance_scale": 3.0, "width": 128, "height": 64, "output_type": "np"}
    noise = torch.from_numpy(load_file(folder / "noise.safetensors")["noise"])
    before = pipeline(**ask, latents=noise).images[0]
    if adapted:
        pipeline.load_lora_weights(folder / "run" / "export" / "diffusers", weight_name="pytorch_lora_weights.safetensors")
    theirs = pipeline(**ask, latents=noise).images[0]
    if adapted:
        assert np.abs(before - theirs).max() > 8 / 255, "the adapter changes nothing"
    assert np.abs(ours - np.round(255 * theirs)).max() <= 2


@pytest.mark.parametrize(("adapted", "spacing"), [(False, "leading"), (False, "trailing"), (True, "leading")], ids=["base", "trailing", "adapter"])
def test_pictures_equal_those_of_diffusers(program, probe, adapted, spacing, tmp_path):
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    unet, vae, texts = diffusion_run.make_pipeline("sd1", tmp_path / "model")
    arguments = []
    if adapted:
        diffusion_run.make_pictures(tmp_path / "pictures", 5, 1)
        (tmp_path / "run.yaml").write_text(f"""
run: {{directory: {tmp_path}/run, seed: 3, steps: 5, threads: 1, device: cpu}}
model: {{path: {tmp_path}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, decompose: {{axis: output}}, targets: attention-mlp}}
data: {{kind: images, resolution: [64], cache: {tmp_path}/cache, concepts: [{{path: {tmp_path}/pictures}}]}}
batch: {{global: 2}}
objective: {{kind: denoise}}
optimizer: {{learning_rate: 3.0e-2}}
export: [{{for: diffusers}}]
""")
        run(program, "train", tmp_path / "run.yaml")
        arguments = ["--adapter", tmp_path / "run" / "export" / "diffusers" / "pytorch_lora_weights.safetensors"]
    if spacing != "leading":  # which the folder's scheduler says
        arguments += ["--spacing", spacing]
    ours = sampled(program, tmp_path, arguments)
    assert "Seed: 5" in Image.open(tmp_path / "made" / "0000.png").text["parameters"]

    save_file({"like": np.zeros((1, 4, 8, 16), np.float32)}, tmp_path / "in.safetensors")
    run(probe, "start", tmp_path / "model", tmp_path / "in.safetensors", tmp_path / "noise.safetensors", 5)
    pipeline = StableDiffusionPipeline(vae=vae, text_encoder=texts[0], tokenizer=CLIPTokenizer.from_pretrained(tmp_path / "model" / "tokenizer"), unet=unet,
                                       scheduler=EulerDiscreteScheduler.from_pretrained(tmp_path / "model" / "scheduler", timestep_spacing=spacing), safety_checker=None, feature_extractor=None)
    expect_pipelines_picture(ours, pipeline, adapted, tmp_path)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_trajectories_of_flow_equal_those_of_diffusers(probe, steps, shift, tmp_path):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.save_pretrained(tmp_path / "scheduler")
    start = np.random.default_rng(steps).standard_normal((1, 16, 3, 5)).astype(np.float32)
    save_file({"start": start, "steps": np.zeros(steps, np.float32)}, tmp_path / "in.safetensors")
    run(probe, "sampler", tmp_path, tmp_path / "in.safetensors", tmp_path / "out.safetensors", "euler")
    ours = load_file(tmp_path / "out.safetensors")
    scheduler.set_timesteps(steps)
    latents = torch.from_numpy(start)
    assert len(scheduler.timesteps) == steps
    for step, timestep in enumerate(scheduler.timesteps):
        latents = scheduler.step(0.3 * torch.tanh(latents) + float(timestep) / 5000, timestep, latents).prev_sample
        expect_close(ours[f"latents.{step}"], latents.numpy(), 1e-5, f"latents after step {step}")


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
def test_pictures_of_stable_diffusion_3_equal_those_of_diffusers(program, probe, adapted, tmp_path):
    """Without T5, whose states are zeros then in both."""
    from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
    from transformers import CLIPTokenizer

    transformer, vae, texts = diffusion_run.make_pipeline("sd35", tmp_path / "model")
    arguments = []
    if adapted:
        diffusion_run.make_pictures(tmp_path / "pictures", 5, 1)
        (tmp_path / "run.yaml").write_text(f"""
run: {{directory: {tmp_path}/run, seed: 3, steps: 5, threads: 1, device: cpu}}
model: {{path: {tmp_path}/model, dtype: float32, train: [transformer]}}
adapter: {{kind: lora, rank: 4, decompose: {{axis: output}}, targets: attention-mlp}}
data: {{kind: images, resolution: [64], cache: {tmp_path}/cache, concepts: [{{path: {tmp_path}/pictures}}]}}
batch: {{global: 2}}
objective: {{kind: denoise, timesteps: {{distribution: logit_normal}}}}
optimizer: {{learning_rate: 3.0e-2}}
samples: {{every: 5, prompts: [a red thing], width: 64, height: 64, steps: 2}}
export: [{{for: diffusers}}]
""")
        run(program, "train", tmp_path / "run.yaml")
        arguments = ["--adapter", tmp_path / "run" / "export" / "diffusers" / "pytorch_lora_weights.safetensors"]
    ours = sampled(program, tmp_path, arguments)
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    save_file({"like": np.zeros((1, 16, 64 // scale, 128 // scale), np.float32)}, tmp_path / "in.safetensors")
    run(probe, "start", tmp_path / "model", tmp_path / "in.safetensors", tmp_path / "noise.safetensors", 5)
    tokenizers = [CLIPTokenizer.from_pretrained(tmp_path / "model" / name) for name in ("tokenizer", "tokenizer_2")]
    pipeline = StableDiffusion3Pipeline(transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), text_encoder=texts[0],
                                        tokenizer=tokenizers[0], text_encoder_2=texts[1], tokenizer_2=tokenizers[1], text_encoder_3=None, tokenizer_3=None)
    expect_pipelines_picture(ours, pipeline, adapted, tmp_path)


def test_samplers_of_betas_are_refused_for_flow(program, tmp_path):
    import subprocess

    diffusion_run.make_pipeline("sd35", tmp_path / "model")
    done = subprocess.run([program, "sample", "--model", tmp_path / "model", "--prompt", "a", "--sampler", "ddim", "--width", "64", "--height", "64",
                           "--output", tmp_path / "made"], capture_output=True, text=True)
    assert done.returncode == 2 and "a flow model takes euler" in done.stderr
