"""Runs on small diffusion models: losses and pictures against the CPU's, and the same bytes again. Needs a bundle with --images, and diffusers."""
import sys

from steps import Context, Finding, StepFailed, table
from training import compare_losses, metrics

CONFIG = """
run: {{directory: {run}, name: pictures, seed: 3, steps: {steps}, threads: {threads}, deterministic: true}}
model: {{path: {model}, dtype: {dtype}, train: [{part}]}}
adapter: {{kind: {kind}, rank: 4, alpha: 4, dropout: 0.1, decompose: {{axis: {axis}}}, targets: {targets}}}
data:
  kind: images
  resolution: [64]
  buckets: {{step: 32, max_aspect: 2}}
  captions: {{shuffle: true, dropout: 0.1}}
  concepts:
    - {{path: {folder}/pictures, flip_probability: 0.5}}
    - {{path: {folder}/held, role: validation}}
batch: {{global: 4, micro: 2}}
objective: {{kind: denoise{weighting}}}
optimizer: {{learning_rate: 1.0e-3}}
validation: {{every: 10, samples: 4}}
checkpoint: {{every: 5}}
samples: {{every: 20, prompts: [thing with colours, third --n dark], width: 64, height: 64, steps: 4, guidance: 4}}
export: [{{for: kohya}}]
"""
CASES = [("sd1", "float32", "locon", "input"), ("sd1", "bfloat16", "lora", "input"), ("sdxl", "float32", "lokr", "output"), ("sd35", "float32", "lora", "output")]
# Of a loss, relative: four to ten times what language models are allowed (training.py), whose loss is a mean over hundreds of tokens; here it is
# one over four pictures, and AdamW's first steps turn roundings of small gradients into whole steps. Of a picture, levels of 255: in float32
# what diffusers' own pipeline is allowed.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
LEVELS = {"float32": 2, "bfloat16": 64}


def configure(context: Context, run: str, case: tuple[str, str, str, str], device: str) -> list[str]:
    model, dtype, kind, axis = case
    flow = model == "sd35"
    folder = context.work / "diffusion"
    file = folder / f"{run}.yaml"
    targets = "attention-mlp" if flow or kind == "lora" else "[full, conv_in, conv_out]"
    file.write_text(CONFIG.format(folder=folder, run=folder / run, steps=6 if context.dry else 20, threads=context.threads, model=folder / model, dtype=dtype,
                                  part="transformer" if flow else "unet", kind=kind, axis=axis, targets=targets,
                                  weighting="" if flow else ", weighting: {kind: min_snr}"))
    return ["train", str(file), "--set", f"run.device={device}", "--set", f"data.cache={folder / f'cache-{model}-{device}-{dtype}'}"]


def pictures(context: Context, run: str) -> dict:
    import numpy as np
    from PIL import Image

    folder = context.work / "diffusion" / run
    return {str(path.relative_to(folder)): np.asarray(Image.open(path)).astype(int) for path in sorted(folder.rglob("*.png"))}


def adapter(context: Context, run: str) -> bytes:
    return next((context.work / "diffusion" / run / "export").rglob("*.safetensors")).read_bytes()


def diffusion(context: Context) -> Finding:
    sys.path.insert(0, str(context.bundle / "check"))
    try:
        import diffusion_run
    except ImportError as error:
        raise StepFailed(f"{error}; this step makes its models with diffusers, transformers and Pillow") from error
    folder = context.work / "diffusion"
    for name, count, seed in (("pictures", 13, 1), ("held", 5, 2)):
        diffusion_run.make_pictures(folder / name, count, seed)
    for model in dict.fromkeys(case[0] for case in CASES):
        diffusion_run.make_pipeline(model, folder / model)
    rows, wrong = [], []
    for case in CASES:
        name = "-".join(case)
        for run, device in (("cpu", "cpu"), ("device", context.device), ("again", context.device)):
            context.dormer(*configure(context, f"{name}-{run}", case, device))
        worst, losses = compare_losses(*(metrics(context, f"diffusion/{name}-{run}") for run in ("cpu", "device")))
        learned = [row[2] for row in losses if row[1] == "loss"]
        there, here, again = (pictures(context, f"{name}-{run}") for run in ("cpu", "device", "again"))
        levels = max(int(abs(here[key] - picture).max()) for key, picture in there.items())
        same = adapter(context, f"{name}-device") == adapter(context, f"{name}-again") and all((again[key] == picture).all() for key, picture in here.items())
        rows.append([*case, learned[0], learned[-1], f"{worst:.1e}", f"{levels} of 255 in {len(there)}", "yes" if same else "NO"])
        context.note(" ".join(map(str, rows[-1])))
        if not worst <= TOLERANCE[case[1]] or levels > LEVELS[case[1]] or not same:
            wrong.append(name)
    shown = table(["model", "dtype", "kind", "axis", "first loss", "last loss", "apart", "pictures apart", "same bytes again"], rows)
    if wrong:
        raise StepFailed(f"{', '.join(wrong)}: not as on the CPU, or not the same bytes again\n\n{shown}")
    return Finding(f"{len(rows)} runs: losses apart by at most {max(float(row[6]) for row in rows):.1e}, the same bytes again", shown)
