"""Adapters merged into diffusion models: into a diffusers folder, and into a checkpoint of one file under native names. diffusers loads the
first, and its own conversions bring the second back to its names; what they hold is compared with W' from the formulas, in fp64."""

import json
import subprocess

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import single_file_utils as single_file
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from diffusers_files_test import error, forward, in_files, make_adapter, make_parts, with_weights
from layer_names_test import ask, layers_of, make_sdxl, make_unet

CLOSE = 1e-6  # fp32 holds W', of numbers that fp32 holds: the sums of a product over a rank of 3, a norm and two factors
FORMS = {"lora": False, "dora": True}


def make_text_encoder(layers=2):
    return CLIPTextModel(CLIPTextConfig(vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=layers, num_attention_heads=2,
                                        max_position_embeddings=16, bos_token_id=0, eos_token_id=2, pad_token_id=1))


def write_adapter(parts, decomposed, file):
    arrays, metadata, weights = make_adapter(parts, dict.fromkeys(parts, decomposed), True)
    save_file({key: tensor.contiguous() for key, tensor in arrays.items()}, file, metadata=metadata)
    return weights


def merge(program, adapter, model, output, *more):
    return subprocess.run([program, "export", adapter, "--for", "merged", "--model", model, "--output", output, *more],
                          capture_output=True, text=True, check=False)


def write_pipeline(parts, folder):
    for component, part in parts.items():
        part.save_pretrained(folder / component)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    (folder / "vae").mkdir()
    save_file({"conv.weight": torch.arange(6.0)}, folder / "vae" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", [(), ("--shard-gib", "0.0001")], ids=["one-file", "shards"])
def test_diffusers_computes_the_merged_folder(form, more, tmp_path, program):
    parts = make_parts()
    weights = write_adapter(parts, FORMS[form], tmp_path / "adapter.safetensors")
    model = write_pipeline(parts, tmp_path / "model")
    done = merge(program, tmp_path / "adapter.safetensors", model, tmp_path / "merged", *more)
    assert done.returncode == 0, done.stderr
    merged = {"unet": UNet2DConditionModel.from_pretrained(tmp_path / "merged" / "unet").eval(),
              "text_encoder": CLIPTextModel.from_pretrained(tmp_path / "merged" / "text_encoder").eval()}
    assert (len(list((tmp_path / "merged" / "unet").glob("*.safetensors"))) > 1) == bool(more)
    got, plain = forward(merged), forward(make_parts())
    wanted = forward(with_weights(make_parts(), weights))
    for component in wanted:
        assert error(got[component], wanted[component]) < 1e-5, component
        assert error(plain[component], wanted[component]) > 0.1, component
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "merged" / vae).read_bytes() == (model / vae).read_bytes()
    assert (tmp_path / "merged" / "scheduler" / "scheduler_config.json").read_text() == "{}"


def open_clip(part):
    """OpenCLIP's arrays of a text encoder of transformers."""
    arrays, prefix = {}, "conditioner.embedders.1.model."
    for name, array in part.state_dict().items():
        name = in_files("text_encoder", name).removeprefix("text_encoder.")
        if ".encoder.layers." not in name:
            continue
        number, rest = name.split(".encoder.layers.")[1].split(".", 1)
        kind = rest.rsplit(".", 1)[1]
        names = {"self_attn.out_proj": "attn.out_proj.", "mlp.fc1": "mlp.c_fc.", "mlp.fc2": "mlp.c_proj.", "layer_norm1": "ln_1.", "layer_norm2": "ln_2."}
        layer = f"{prefix}transformer.resblocks.{number}."
        if rest.startswith(("self_attn.q", "self_attn.k", "self_attn.v")):
            arrays.setdefault(f"{layer}attn.in_proj_{kind}", {})[rest[10]] = array
        else:
            arrays[layer + names[rest.rsplit(".", 1)[0]] + kind] = array
    return {name: torch.cat([array[part] for part in "qkv"]) if isinstance(array, dict) else array for name, array in arrays.items()}


def encoder_arrays(family, parts):
    """The text encoders' arrays in a checkpoint of one file."""
    prefix = "cond_stage_model.transformer." if family == "sd1" else "conditioner.embedders.0.transformer."
    arrays = {prefix + in_files("text_encoder", name).removeprefix("text_encoder."): array
              for name, array in parts["text_encoder"].state_dict().items()}
    return arrays | (open_clip(parts["text_encoder_2"]) if family == "sdxl" else {})


def make_checkpoint(family, dtype):
    torch.manual_seed(5)
    unet = make_unet((1, 1, 1, 0)) if family == "sd1" else make_sdxl()
    parts = {"unet": unet, "text_encoder": make_text_encoder()}
    if family == "sdxl":
        parts["text_encoder_2"] = make_text_encoder(3)
    for part in parts.values():
        part.to(dtype).eval()
    layers = {path: (columns, [index + 1]) for index, (path, (_, columns)) in enumerate(layers_of(family).items())}
    paths = {rows[0]: path for path, (_, rows) in ask(family, "native", layers).items()}
    state, arrays = unet.state_dict(), {}
    for path, (_, rows) in layers.items():
        for kind in ("weight", "bias"):
            if f"{path}.{kind}" in state:
                arrays[f"model.diffusion_model.{paths[rows[0]]}.{kind}"] = state[f"{path}.{kind}"]
    arrays |= encoder_arrays(family, parts)
    arrays["first_stage_model.quant_conv.weight"] = torch.randn(3, 5).to(dtype)
    arrays["cond_stage_model.position_ids"] = torch.arange(7)
    return parts, {name: array.clone().contiguous() for name, array in arrays.items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_checkpoint_of_one_file_is_merged_in_place(family, form, dtype, tmp_path, program):
    parts, arrays = make_checkpoint(family, dtype)
    weights = write_adapter(parts, FORMS[form], tmp_path / "adapter.safetensors")
    save_file(arrays, tmp_path / "model.safetensors", metadata={"modelspec.title": "base", "modelspec.hash_sha256": "0x1"})
    name = {torch.float32: "float32", torch.bfloat16: "bfloat16"}[dtype]
    done = merge(program, tmp_path / "adapter.safetensors", tmp_path / "model.safetensors", tmp_path / "merged.safetensors", "--dtype", name)
    assert done.returncode == 0, done.stderr
    merged = load_file(tmp_path / "merged.safetensors")
    assert merged.keys() == arrays.keys()
    with safe_open(tmp_path / "merged.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "modelspec.title": "base"}

    config = {"layers_per_block": 2, "addition_embed_type": "text_time" if family == "sdxl" else None}
    unet = single_file.convert_ldm_unet_checkpoint(dict(merged), config)
    rounding = 0.0 if dtype == torch.float32 else 2.0**-8

    def same_to_rounding(got, wanted, parts=1):
        pairs = zip(got.double().chunk(parts), wanted.chunk(parts))
        return all((mine - theirs).abs().max() <= (rounding + CLOSE) * theirs.abs().max() for mine, theirs in pairs)

    wanted = encoder_arrays(family, with_weights(parts, weights))
    for (component, module), weight in weights.items():
        assert component != "unet" or same_to_rounding(unet[f"{module}.weight"], weight), module
    for array in arrays:
        if not array.startswith("model.diffusion_model."):
            changed = array in wanted and not torch.equal(wanted[array], arrays[array].double())
            parts_of = 3 if "in_proj" in array else 1
            assert same_to_rounding(merged[array], wanted[array], parts_of) if changed else torch.equal(merged[array], arrays[array]), array
    encoders = sum(component != "unet" for component, _ in weights)
    assert encoders / 3 <= sum(not torch.equal(merged[array], arrays[array]) for array in wanted) <= encoders
    before = single_file.convert_ldm_unet_checkpoint(dict(arrays), config)
    same = [name for name, array in before.items() if torch.equal(array, unet[name])]
    assert len(before) - len(same) == sum(component == "unet" for component, _ in weights)


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(tmp_path, program):
    parts, arrays = make_checkpoint("sd1", torch.float32)
    write_adapter(parts, False, tmp_path / "adapter.safetensors")

    def refused(changed, words, output="merged.safetensors"):
        save_file(changed, tmp_path / "model.safetensors")
        done = merge(program, tmp_path / "adapter.safetensors", tmp_path / "model.safetensors", tmp_path / output)
        assert done.returncode == 2 or done.returncode == 3, done
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        for word in words:
            assert word in done.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.safetensors", "model.safetensors"]

    narrow = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    refused(arrays | {narrow: arrays[narrow].to(torch.float8_e4m3fn)}, [narrow, "16 or 32 bits"])
    refused({name: array for name, array in arrays.items() if not name.startswith("cond_stage_model.transformer")},
            ["text_encoder", "without that part"])
    refused(arrays, [".safetensors"], "merged")
