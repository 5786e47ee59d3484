"""Names of layers beside diffusers' own conversions, on all layers that its models have: every row of every layer carries a number of its
own, so that a part in a wrong place, a missing swap or a wrong cut is seen. Names and numbers are compared exactly."""

import os
import subprocess

import diffusers
import pytest
import torch
from diffusers.loaders import lora_conversion_utils as lora
from diffusers.loaders import single_file_utils as single_file

LAYERS = (torch.nn.Linear, torch.nn.Conv2d)


def make_unet(blocks, **options):
    return diffusers.UNet2DConditionModel(
        sample_size=8, layers_per_block=2, block_out_channels=(32,) * len(blocks), norm_num_groups=8, cross_attention_dim=16,
        attention_head_dim=8, down_block_types=tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in blocks),
        up_block_types=tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(blocks)), **options)


def make_sdxl():
    return make_unet((0, 1, 1), transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=8,
                     projection_class_embeddings_input_dim=64, use_linear_projection=True)


def make_sd3(**options):
    return diffusers.SD3Transformer2DModel(sample_size=8, num_layers=3, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=24,
                                           caption_projection_dim=16, pooled_projection_dim=40, in_channels=4, pos_embed_max_size=8, **options)


def make_flux():
    # diffusers' conversions know one width
    return diffusers.FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)


MODELS = {
    "sd1": ("sd1", lambda: make_unet((1, 1, 1, 0))),
    "sdxl": ("sdxl", make_sdxl),
    "sd3": ("sd3", make_sd3),
    "sd3.5": ("sd3", lambda: make_sd3(dual_attention_layers=(0, 1), qk_norm="rms_norm")),
    "flux": ("flux", make_flux),
}


def layers_of(name):
    """The model's linear and convolutional layers: (rows, columns) by path."""
    with torch.device("meta"):
        model = MODELS[name][1]()
    return {path: (module.weight.shape[0], module.weight[0].numel()) for path, module in model.named_modules() if isinstance(module, LAYERS)}


def component(family):
    return "unet." if family.startswith("sd1") or family == "sdxl" else "transformer."


def ask(family, naming, layers):
    """layers: (columns, numbers of rows) by path, without component."""
    prefix = component(family)
    lines = [f"{prefix}{path} {columns} {' '.join(map(str, rows))}" for path, (columns, rows) in layers.items()]
    program = os.path.join(os.environ["DORMER_BUILD"], "tests", "names_probe")
    done = subprocess.run([program, family, naming], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = {}
    for line in done.stdout.splitlines():
        path, columns, *rows = line.split()
        answer[path.removeprefix(prefix)] = (int(columns), [int(row) for row in rows])
    return answer


def numbered(name):
    """Every row of the model gets its own number, below 2^24, so that fp32 holds it; 0 is none, for it would be no change."""
    layers, start = {}, 1
    for path, (rows, columns) in layers_of(name).items():
        layers[path] = (columns, list(range(start, start + rows)))
        start += rows
    assert start < 2**24
    return layers


@pytest.fixture(scope="module", params=list(MODELS))
def case(request):
    layers = numbered(request.param)
    family = MODELS[request.param][0]
    return request.param, family, layers, ask(family, "native", layers)


def column(rows):
    return torch.tensor(rows, dtype=torch.float64)[:, None]


def native_checkpoint(native, prefix):
    checkpoint = {}
    for path, (_, rows) in native.items():
        checkpoint[f"{prefix}{path}.weight"] = column(rows)
        checkpoint[f"{prefix}{path}.bias"] = column(rows)
    return checkpoint


class WithNorms(dict):
    """A checkpoint that gives any norm, which adapters do not have, when it is asked for."""

    def pop(self, key, *default):
        is_norm = key == "pos_embed" or ".norm." in key or ".ln_" in key
        return torch.zeros(1) if is_norm and key not in self else super().pop(key, *default)


def test_native_names_are_those_of_diffusers_checkpoints(case):
    _, family, layers, native = case
    if family in ("sd1", "sdxl"):
        config = {"layers_per_block": 2, "addition_embed_type": "text_time" if family == "sdxl" else None}
        ours = single_file.convert_ldm_unet_checkpoint(native_checkpoint(native, "model.diffusion_model."), config)
    elif family == "sd3":
        ours = single_file.convert_sd3_transformer_checkpoint_to_diffusers(WithNorms(native_checkpoint(native, "")))
    else:
        ours = single_file.convert_flux_transformer_checkpoint_to_diffusers(WithNorms(native_checkpoint(native, "")))
    found = {key.removesuffix(".weight"): value[:, 0].long().tolist() for key, value in ours.items()
             if key.endswith(".weight") and key.removesuffix(".weight") in layers}
    assert found == {path: rows for path, (_, rows) in layers.items()}


def test_back_again(case):
    _, family, layers, native = case
    assert ask(family, "hugging_face", native) == layers


def flat(path):
    return path.replace(".", "_")


def kohya_file(native):
    state = {}
    for path, (_, rows) in native.items():
        state[f"lora_unet_{flat(path)}.lora_down.weight"] = torch.ones(1, 1, dtype=torch.float64)
        state[f"lora_unet_{flat(path)}.lora_up.weight"] = column(rows)
    return state


def test_kohya_names_of_sdxl_load_in_diffusers():
    layers = numbered("sdxl")
    native = ask("sdxl", "native", layers)

    class Config:
        layers_per_block = 2

    mapped = lora._maybe_map_sgm_blocks_to_diffusers(kohya_file(native), Config)
    state, _ = lora._convert_non_diffusers_lora_to_diffusers(mapped)
    found = {}
    for key, value in state.items():
        if ".up." in key:
            path = key.removeprefix("unet.").replace(".processor", "").replace("to_out_lora", "to_out.0_lora")
            found[path.replace("_lora.up.weight", "").replace(".lora.up.weight", "")] = value[:, 0].long().tolist()
    assert found == {path: rows for path, (_, rows) in layers.items()}


def test_kohya_names_of_flux_load_in_diffusers():
    layers = numbered("flux")
    state = lora._convert_kohya_flux_lora_to_diffusers(kohya_file(ask("flux", "native", layers)))
    found = {key.removesuffix(".lora_B.weight").removeprefix("transformer."): value[:, 0].long().tolist()
             for key, value in state.items() if key.endswith(".lora_B.weight")}
    assert found == {path: rows for path, (_, rows) in layers.items()}
