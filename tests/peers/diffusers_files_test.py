"""diffusers' single file in both directions: diffusers computes from our files what the factors say, and we read what it saves."""

import json
import os
import subprocess

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

PROGRAM = os.path.join(os.environ["DORMER_BUILD"], "tests", "convert_probe")
# Both sides compute in fp64; what is left is one rounding to fp32 (2^-24) of each factor, which some thirty layers carry on.
CLOSE = 1e-5


def make_parts():
    torch.manual_seed(1)
    unet = UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4,
                                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                                cross_attention_dim=24, attention_head_dim=4)
    text_encoder = CLIPTextModel(CLIPTextConfig(vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
                                                max_position_embeddings=16, bos_token_id=0, eos_token_id=2, pad_token_id=1))
    return {"unet": unet.eval(), "text_encoder": text_encoder.eval()}


def forward(parts):
    """Both parts, each with an input of its own, in fp64."""
    torch.manual_seed(2)
    sample, states = torch.randn(1, 4, 8, 8, dtype=torch.double), torch.randn(1, 5, 24, dtype=torch.double)
    with torch.no_grad():
        picture = parts["unet"].double()(sample, torch.tensor([7]), states).sample
        text = parts["text_encoder"].double()(torch.arange(10).reshape(1, 10) + 3).last_hidden_state
    return {"unet": picture, "text_encoder": text}


def error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.pow(2).mean().sqrt()).item()


def in_files(component, module):
    """CLIP's layers have another path in newer versions of transformers; files keep the older one."""
    return f"{component}.text_model.{module}" if component.startswith("text_encoder") and not module.startswith("text_model.") else f"{component}.{module}"


LINEAR = {"unet": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "time_emb_proj"), "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1")}
CONVOLUTIONS = ("conv1", "conv2", "proj_in", "conv_shortcut")


def make_adapter(parts, decomposed, convolutions):
    """The arrays and metadata of a file with alphas of its own, and the same weights in fp64."""
    generator = torch.Generator().manual_seed(3)
    arrays, metadata, weights = {}, {}, {}
    for component, part in parts.items():
        ends = LINEAR[component.removesuffix("_2")] + (CONVOLUTIONS if convolutions and component == "unet" else ())
        ranks, alphas = {}, {}
        for module, layer in part.named_modules():
            if not module.endswith(ends) or not hasattr(layer, "weight"):
                continue
            rank = 2 if module.endswith(("to_v", "fc1")) else 3
            alpha = 5.0 if module.endswith("to_k") else 1.7
            weight = layer.weight.detach().double()
            # The norms of the factors' product are about those of independent numbers: sqrt(rank) times their deviations.
            spread = (0.6 * weight.pow(2).mean().sqrt().item() * rank / alpha / rank**0.5) ** 0.5
            down = spread * torch.randn((rank, *weight.shape[1:]), generator=generator)
            up = spread * torch.randn((weight.shape[0], rank), generator=generator)
            change = alpha / rank * (up.double() @ down.double().flatten(1)).reshape(weight.shape)
            assert change.norm() / weight.norm() > 0.3
            changed = weight + change
            name = in_files(component, module)
            arrays[f"{name}.lora_A.weight"] = down
            arrays[f"{name}.lora_B.weight"] = up.reshape(up.shape + (1,) * (weight.dim() - 2))
            if decomposed[component]:
                norms = changed.flatten(1).norm(dim=1)
                magnitude = (norms * (1 + 0.3 * torch.randn(norms.shape, generator=generator))).float()
                arrays[f"{name}.lora_magnitude_vector"] = magnitude if weight.dim() == 2 else magnitude.reshape(1, -1, 1, 1)
                changed = changed * (magnitude.double() / norms).reshape((-1,) + (1,) * (weight.dim() - 1))
            weights[(component, module)] = changed
            ranks[name.removeprefix(f"{component}.")], alphas[name.removeprefix(f"{component}.")] = rank, alpha
        fields = {"r": 3, "lora_alpha": 1.7, "use_dora": decomposed[component], "target_modules": sorted(ranks),
                  "rank_pattern": {name: rank for name, rank in ranks.items() if rank != 3},
                  "alpha_pattern": {name: alpha for name, alpha in alphas.items() if alpha != 1.7}}
        metadata |= {f"{component}.{key}": value for key, value in fields.items()}
    return arrays, {"format": "pt", "lora_adapter_metadata": json.dumps(metadata, sort_keys=True)}, weights


def with_weights(parts, weights):
    """The same parts in fp64 with these weights in the place of their own."""
    for part in parts.values():
        part.double()
    with torch.no_grad():
        for (component, module), weight in weights.items():
            parts[component].get_submodule(module).weight.copy_(weight)
    return parts


def convert(source, target):
    done = subprocess.run([PROGRAM, source, "diffusers", target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def load_adapter(parts, file, metadata=True):
    """As StableDiffusionPipeline.load_lora_weights does."""
    state, alphas, read = StableDiffusionPipeline.lora_state_dict(file, return_lora_metadata=True)
    read = read if metadata else None
    StableDiffusionPipeline.load_lora_into_unet(dict(state), network_alphas=alphas, unet=parts["unet"], metadata=read)
    StableDiffusionPipeline.load_lora_into_text_encoder(dict(state), network_alphas=alphas, text_encoder=parts["text_encoder"], metadata=read,
                                                        prefix="text_encoder")


def drop_metadata(source, target):
    save_file(load_file(source), target, metadata={"format": "pt"})
    return target


CASES = {"lora": ({"unet": False, "text_encoder": False}, False), "locon": ({"unet": False, "text_encoder": False}, True),
         "dora-of-the-unet": ({"unet": True, "text_encoder": False}, False)}


@pytest.mark.parametrize("with_metadata", [True, False], ids=["metadata", "no-metadata"])
@pytest.mark.parametrize("name", CASES)
def test_diffusers_computes_what_the_factors_say(name, with_metadata, tmp_path):
    parts = make_parts()
    arrays, metadata, weights = make_adapter(parts, *CASES[name])
    save_file({key: tensor.contiguous() for key, tensor in arrays.items()}, tmp_path / "made.safetensors", metadata=metadata)
    ours = convert(tmp_path / "made.safetensors", tmp_path / "pytorch_lora_weights.safetensors")
    if not with_metadata:
        ours = drop_metadata(ours, tmp_path / "plain.safetensors")
    with safe_open(ours, "pt") as file:
        assert file.metadata()["format"] == "pt"
    plain = forward(make_parts())
    load_adapter(parts, ours, with_metadata)
    got = forward(parts)

    wanted = forward(with_weights(make_parts(), weights))
    for component in wanted:
        assert error(got[component], wanted[component]) < CLOSE, component
        assert error(plain[component], wanted[component]) > 0.1, component


@pytest.mark.parametrize("decomposed", [False, True], ids=["lora", "dora"])
def test_what_diffusers_saves_is_read(decomposed, tmp_path):
    parts = make_parts()
    config = {"r": 3, "lora_alpha": 4, "use_dora": decomposed}
    parts["unet"].add_adapter(LoraConfig(target_modules=["to_q", "to_v", "conv1"], rank_pattern={"to_v": 2}, alpha_pattern={"conv1": 7}, **config))
    parts["text_encoder"].add_adapter(LoraConfig(target_modules=["q_proj", "fc1"], **config | {"use_dora": False}))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for part in parts.values():
            for name, parameter in part.named_parameters():
                if "lora_" in name:
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(parameter * (1 + 0.3 * noise) if "magnitude" in name else 0.3 * noise)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "theirs", unet_lora_layers=get_peft_model_state_dict(parts["unet"]),
        text_encoder_lora_layers=get_peft_model_state_dict(parts["text_encoder"]),
        unet_lora_adapter_metadata=parts["unet"].peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=parts["text_encoder"].peft_config["default"].to_dict())
    wanted, plain = forward(parts), forward(make_parts())
    ours = convert(tmp_path / "theirs", tmp_path / "ours.safetensors")
    fresh = make_parts()
    load_adapter(fresh, ours)
    got = forward(fresh)
    for component in wanted:
        assert error(got[component], wanted[component]) < CLOSE, component
        assert error(plain[component], wanted[component]) > 0.1, component
