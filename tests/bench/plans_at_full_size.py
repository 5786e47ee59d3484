#!/usr/bin/env python3
"""`dormer plan` beside runs of the shipped configurations for diffusion models: one update of each on models of their real sizes with random
weights, at the configuration's own resolution unless --resolution says another.

Global batch and pictures are left out of both: they cost time alone. Writes up to 20 GB below --folder, and takes up to a quarter of an hour for
each configuration on two cores.

Example: tests/bench/plans_at_full_size.py sd15_dora sd15_locon onetrainer_dora
         tests/bench/plans_at_full_size.py sdxl_dora --resolution 768
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "peers"), str(ROOT / "tests" / "bench")]
from diffusion_run import make_pictures, make_tokenizer  # noqa: E402
from diffusion_updates import FAMILIES, write_part  # noqa: E402

MEASURED = re.compile(r"memory of rank 0: (\d+) bytes of tensors at most")
# Of the models' config.json; what is not here is the library's default. Tokenizers are small: the widths count, not the words.
CLIP_L = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768,
          "bos_token_id": 512, "eos_token_id": 513}
CLIP_G = {**CLIP_L, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "projection_dim": 1280,
          "hidden_act": "gelu"}
AUTOENCODER = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "down_block_types": ["DownEncoderBlock2D"] * 4,
               "up_block_types": ["UpDecoderBlock2D"] * 4, "latent_channels": 4, "sample_size": 512}
MEDIUM = {"sample_size": 128, "patch_size": 2, "in_channels": 16, "num_layers": 24, "attention_head_dim": 64, "num_attention_heads": 24,
          "joint_attention_dim": 4096, "caption_projection_dim": 1536, "pooled_projection_dim": 2048, "out_channels": 16, "pos_embed_max_size": 384,
          "dual_attention_layers": list(range(13)), "qk_norm": "rms_norm"}
MODELS = {
    "sd15": (UNet2DConditionModel, FAMILIES["sd15"], "unet", AUTOENCODER, [(CLIPTextModel, CLIP_L)]),
    "sdxl": (UNet2DConditionModel, FAMILIES["sdxl"], "unet", AUTOENCODER, [(CLIPTextModel, CLIP_L), (CLIPTextModelWithProjection, CLIP_G)]),
    "sd35": (SD3Transformer2DModel, MEDIUM, "transformer", {**AUTOENCODER, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False},
             [(CLIPTextModelWithProjection, CLIP_L), (CLIPTextModelWithProjection, CLIP_G)]),
}
CONFIGURATIONS = {"sd15_dora": "sd15", "sd15_locon": "sd15", "onetrainer_dora": "sd15", "sdxl_dora": "sdxl", "sd35_dora": "sd35"}


def write_model(name, dtype, folder):
    from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

    denoiser, sizes, part, autoencoder, encoders = MODELS[name]
    write_part(lambda: denoiser(**sizes), dtype, folder / part)
    write_part(lambda: AutoencoderKL(**autoencoder), dtype, folder / "vae")
    for index, (encoder, sizes) in enumerate(encoders):
        place = "" if index == 0 else f"_{index + 1}"
        write_part(lambda encoder=encoder, sizes=sizes: encoder(CLIPTextConfig(**sizes)), dtype, folder / f"text_encoder{place}")
        make_tokenizer(folder / f"tokenizer{place}", "!" if index else "<|endoftext|>")
    scheduler = (FlowMatchEulerDiscreteScheduler(shift=3.0) if name == "sd35"
                 else DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012))
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def measure(program, configuration, resolution, folder):
    """Bytes of tensors at the peak: planned, measured; and the seconds of the run."""
    family = CONFIGURATIONS[configuration]
    file = ROOT / "configs" / f"{configuration}.yaml"
    dtype = torch.bfloat16 if "dtype: bfloat16" in file.read_text() else torch.float32
    model = folder / f"{family}-{dtype}".replace("torch.", "")
    if not model.exists():
        write_model(family, dtype, model)
    pictures = folder / "pictures"
    if not pictures.exists():
        make_pictures(pictures, 2, 1, sizes=((1024, 1024),))
    run = folder / configuration
    settings = {"model.path": model, "run.directory": run, "run.steps": 1, "run.epochs": "null", "run.threads": os.cpu_count(), "run.device": "cpu",
                "data.cache": folder / f"cache-{family}", "data.concepts": f"[{{path: {pictures}, captions: sidecar}}]", "data.resolution": f"[{resolution}]" if resolution else None,
                "batch.global": 1, "samples": "{every: null, prompts: []}", "text.tokenizer": "null", "schedule.warmup": 0}
    words = [word for key, value in settings.items() if value is not None for word in ("--set", f"{key}={value}")]
    plan = json.loads(subprocess.run([program, "plan", file, "--json", *words], check=True, capture_output=True, text=True).stdout)
    began = time.perf_counter()
    subprocess.run([program, "train", file, *words], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    return plan["ranks"][0]["memory"]["tensors"], int(MEASURED.search((run / "log.txt").read_text()).group(1)), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="*", default=list(CONFIGURATIONS), metavar="NAME", help=", ".join(CONFIGURATIONS))
    parser.add_argument("--resolution", type=int, help="in place of the configuration's own")
    parser.add_argument("--program", default=ROOT / "build" / "release" / "bin" / "dormer", type=Path)
    parser.add_argument("--folder", type=Path, help="where models and runs are written and stay (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for configuration in arguments.configurations:
            planned, measured, seconds = measure(arguments.program, configuration, arguments.resolution, folder)
            print(f"{configuration:16} planned {planned / 1e9:7.3f} GB, measured {measured / 1e9:7.3f} GB ({planned / measured:.3f}), {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
