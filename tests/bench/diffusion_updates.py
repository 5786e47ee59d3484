#!/usr/bin/env python3
"""Time and memory of updates on the denoiser of Stable Diffusion 1.5 or XL at full size with random weights: dormer beside diffusers with PEFT
and with LyCORIS, adapters of one rank on the transformer blocks, AdamW, one batch.

Every program runs in a process of its own, in turn, as often as --starts says; its best and median update and its most memory stand in a table.
Memory is the process's resident set, on a GPU what the driver says the process holds.

Example: tests/bench/diffusion_updates.py --family sd15 --dtype float32 --resolution 256
         tests/bench/diffusion_updates.py --family sdxl --dtype bfloat16 --only 'dormer|PEFT LoRA'
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Of the models' config.json; what is not here is diffusers' default.
FAMILIES = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {"sample_size": 128, "block_out_channels": [320, 640, 1280], "layers_per_block": 2, "cross_attention_dim": 2048,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "transformer_layers_per_block": [1, 2, 10],
             "attention_head_dim": [5, 10, 20], "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
             "projection_class_embeddings_input_dim": 2816},
}
OURS = {"dormer LoRA": "lora", "dormer DoRA": "dora", "dormer LoKr DoRA": "lokr-dora"}
PEERS = {"PEFT LoRA": ("peft", False), "PEFT DoRA": ("peft", True), "LyCORIS LoCon": ("locon", False), "LyCORIS LoCon DoRA": ("locon", True),
         "LyCORIS LoKr DoRA": ("lokr", True)}
# What adapter.targets: attention-mlp means on a UNet.
TRANSFORMER_LAYERS = r".*attentions.*\.(to_q|to_k|to_v|to_out\.0|net\.0\.proj|net\.2|proj_in|proj_out)"


def write_part(build, dtype, folder, device="cpu"):
    """One part of a model, of random numbers that keep the size of what they multiply."""
    import torch

    with torch.device("meta"):
        model = build()
    model = model.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=(parameter.numel() // parameter.shape[0]) ** -0.5, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        for values in model.buffers():
            values.zero_()
    model.save_pretrained(folder)


def write_model(family, dtype, folder, device):
    """A folder that holds a denoiser and a scheduler."""
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel

    write_part(lambda: UNet2DConditionModel(**FAMILIES[family]), getattr(torch, dtype), folder / "unet", device)
    DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


# --- a peer, in a process of its own --------------------------------------------------------------------------------------------------------


def adapted(unet, kind, decompose, rank):
    """Puts adapters on the denoiser; returns what trains and what must be kept alive."""
    if kind == "peft":
        import peft

        unet.add_adapter(peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=TRANSFORMER_LAYERS, use_dora=decompose))
        return [parameter for parameter in unet.parameters() if parameter.requires_grad], None
    from lycoris import LycorisNetwork, create_lycoris

    LycorisNetwork.apply_preset({"enable_conv": False, "target_module": ["Transformer2DModel"], "target_name": []})
    network = create_lycoris(unet, 1.0, linear_dim=rank, linear_alpha=rank, algo=kind, dora_wd=decompose)
    network.apply_to()
    network.to(unet.device)
    return [parameter for parameter in network.parameters() if parameter.requires_grad], network


def be_peer(words):
    import warnings

    import torch
    from diffusers import UNet2DConditionModel

    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # LyCORIS logs to standard output
    kind, decompose = PEERS[words["name"]]
    torch.set_num_threads(words["threads"])
    torch.manual_seed(1)
    device, dtype, samples = words["device"], getattr(torch, words["dtype"]), words["samples"]
    unet = UNet2DConditionModel.from_pretrained(words["folder"], subfolder="unet", torch_dtype=dtype).to(device).requires_grad_(False)
    unet.train()
    trained, kept = adapted(unet, kind, decompose, words["rank"])
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(trained, lr=5e-4, weight_decay=0.0)
    side = words["resolution"] // 8
    place = {"device": device, "dtype": dtype}
    latents, noise = (torch.randn(samples, 4, side, side, **place) for _ in range(2))
    text = torch.randn(samples, 77, unet.config.cross_attention_dim, **place)
    more = {}
    if unet.config.addition_embed_type:
        more = {"text_embeds": torch.randn(samples, 1280, **place), "time_ids": torch.full((samples, 6), float(words["resolution"]), **place)}
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds = []
    for _ in range(words["rounds"] + 1):
        wait()
        start = time.perf_counter()
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):  # adapters are fp32, products in the model's dtype
            told = unet(latents, torch.tensor([500] * samples, device=device), text, added_cond_kwargs=more).sample
        torch.nn.functional.mse_loss(told.float(), noise.float()).backward()
        optimizer.step()
        optimizer.zero_grad()
        wait()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds[1:]), file=answers, flush=True)


# --- the table ------------------------------------------------------------------------------------------------------------------------------


def held_on_gpu(pid):
    said = subprocess.run(["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"], capture_output=True, text=True,
                          check=False).stdout
    rows = [line.split(", ") for line in said.strip().splitlines()]
    return max((int(used) * 2**20 for owner, used in rows if owner == str(pid) and used.isdigit()), default=0)


def run(name, command, device):
    """Seconds of every update, and the most memory."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=errors)
        held, ended = [0], threading.Event()
        if device == "cuda":
            def watch():
                while not ended.wait(0.3):
                    held.append(held_on_gpu(process.pid))
            threading.Thread(target=watch, daemon=True).start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        output.seek(0), errors.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"{name}: exit code {process.returncode}\n{errors.read()[-2000:]}")
        said = json.loads(output.read().strip().splitlines()[-1])
    return said, max(held) if device == "cuda" else usage.ru_maxrss * 1024


def command_of(name, words):
    if name not in OURS:
        return [sys.executable, __file__, "--peer", json.dumps({**words, "name": name})]
    keys = ("dtype", "samples", "resolution", "rank", "rounds", "device", "threads")
    return [words["program"], "bench", "--model", words["folder"], "--adapters", OURS[name], "--json",
            *(word for key in keys for word in (f"--{key}", words[key]))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="sd15", choices=list(FAMILIES))
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/dormer"))
    parser.add_argument("--folder", type=Path, help="where the model lies, or is written to when it is missing (default: a temporary one)")
    parser.add_argument("--only", default="", help="rows whose names match this pattern")
    for name, default in (("resolution", 256), ("samples", 1), ("rank", 16), ("threads", 2), ("rounds", 2), ("starts", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        be_peer(json.loads(arguments.peer))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "model_index.json").exists():
            write_model(arguments.family, arguments.dtype, folder, arguments.device)
        words = {**vars(arguments), "folder": str(folder)}
        seconds, memory = {}, {}
        names = [name for name in (*OURS, *PEERS) if re.search(arguments.only, name)]
        for _ in range(arguments.starts):
            for name in names:
                said, held = run(name, command_of(name, words), arguments.device)
                values = said[OURS[name]] if name in OURS else said
                seconds.setdefault(name, []).extend(values)
                memory[name] = max(memory.get(name, 0), held)
                print(f"{name}: {', '.join(f'{value:.3f}' for value in values)} s, {held / 1e9:.2f} GB", file=sys.stderr, flush=True)
    best = {name: min(values) for name, values in seconds.items()}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    share = lambda name, other: f"{middle[name] / middle[other]:.3f}" if other in middle else ""
    print(f"{arguments.family}, {arguments.dtype}, {arguments.samples} x {arguments.resolution}x{arguments.resolution} pixels, rank {arguments.rank}, "
          f"{'GPU' if arguments.device == 'cuda' else f'{arguments.threads} threads'}\n")
    print("| update | best s | median s | of dormer LoRA | of PEFT LoRA | memory |\n|---|---|---|---|---|---|")
    for name in names:
        print(f"| {name} | {best[name]:.3f} | {middle[name]:.3f} | {share(name, 'dormer LoRA')} | {share(name, 'PEFT LoRA')} | {memory[name] / 1e9:.2f} GB |")


if __name__ == "__main__":
    main()
