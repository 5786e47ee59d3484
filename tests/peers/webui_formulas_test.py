"""What the WebUIs make of our files: their merging formulas, written here anew, on files that our writer made, against effective weights that the
source tensors give in fp64. At strength 1, in fp32 as those programs compute, with changes as large as the weight so that a wrong norm cannot
hide. LyCORIS reads the same files with its own code."""

import hashlib
import json
import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from lycoris.modules import get_module, make_module

PROBE = Path(os.environ["DORMER_BUILD"]) / "tests" / "consumer_probe"
# Five roundings along a chain of at most five factors, sums of at most 200 products with errors of both signs, times 8 for the unlucky ones.
EXACT = 5 * 8 * 2.0**-24 * math.sqrt(200)
EPSILON = torch.finfo(torch.float32).eps
RANK = {"locon": 4, "loha": 4, "lokr": 2}
ALPHA = 3.0


@dataclass
class Layer:
    source: str  # as OneTrainer's older releases and LyCORIS name it: flattened names of diffusers
    written: str  # as everyone else reads it: flattened names of SGM
    out: int
    channels: int
    kernel: tuple = ()

    @property
    def shape(self):
        return (self.out, self.channels, *self.kernel)


BLOCK = "attentions_0_transformer_blocks_1"
LAYERS = [
    Layer(f"lora_unet_down_blocks_1_{BLOCK}_attn1_to_q", "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", 24, 20),
    Layer(f"lora_unet_down_blocks_1_{BLOCK}_attn1_to_out_0", "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_out_0", 16, 16),
    Layer("lora_unet_down_blocks_1_resnets_0_conv1", "lora_unet_input_blocks_4_0_in_layers_2", 16, 12, (3, 3)),
    Layer("lora_unet_down_blocks_1_resnets_0_conv2", "lora_unet_input_blocks_4_0_out_layers_3", 12, 12, (3, 3)),
    Layer("lora_unet_down_blocks_1_resnets_0_conv_shortcut", "lora_unet_input_blocks_4_0_skip_connection", 16, 12, (1, 1)),
    Layer("lora_te2_text_model_encoder_layers_31_mlp_fc1", "lora_te2_text_model_encoder_layers_31_mlp_fc1", 18, 12),
]
KINDS = ["locon", "locon_tucker", "loha", "loha_tucker", "lokr", "lokr_both", "lokr_whole", "lokr_tucker"]


def factor_shapes(kind, layer):
    """By the endings that files have. LoKr splits every size in 2 and the rest."""
    out, channels, kernel = layer.out, layer.channels, layer.kernel
    rank = RANK[kind.split("_")[0]]
    taps = math.prod(kernel)
    ones = (1,) * len(kernel)
    tucker = kind.endswith("tucker") and taps > 1
    if kind.startswith("locon"):
        shapes = {"lora_down.weight": (rank, channels, *(ones if tucker else kernel)), "lora_up.weight": (out, rank, *ones)}
        return shapes | ({"lora_mid.weight": (rank, rank, *kernel)} if tucker else {})
    if kind.startswith("loha"):
        if tucker:
            return {f"hada_w{i}_{side}": (rank, out if side == "a" else channels) for i in (1, 2) for side in "ab"} | {
                f"hada_t{i}": (rank, rank, *kernel) for i in (1, 2)}
        return {f"hada_w{i}_{side}": (out, rank) if side == "a" else (rank, channels * taps) for i in (1, 2) for side in "ab"}
    rows, columns = out // 2, channels // 2
    small = {"lokr_w1_a": (2, rank), "lokr_w1_b": (rank, 2)} if kind == "lokr_both" else {"lokr_w1": (2, 2)}
    if tucker:
        return small | {"lokr_t2": (rank, rank, *kernel), "lokr_w2_a": (rank, rows), "lokr_w2_b": (rank, columns)}
    if kind == "lokr_whole":
        return small | {"lokr_w2": (rows, columns, *kernel)}
    return small | {"lokr_w2_a": (rows, rank), "lokr_w2_b": (rank, columns * taps)}


def change(factors, layer):
    """Δ without its scale, from the definitions of the kinds, in the dtype of the factors."""
    def has(name):
        return name in factors

    def composed(left, right, middle=None):  # Tucker halves have their first factor turned round
        if middle is None:
            return left @ right
        return torch.einsum("pqhw,po,qi->oihw", middle, left, right).flatten(1)

    if has("lora_up.weight"):
        up, down = factors["lora_up.weight"].flatten(1), factors["lora_down.weight"]
        if has("lora_mid.weight"):
            return torch.einsum("op,pqhw,qi->oihw", up, factors["lora_mid.weight"], down.flatten(1))
        return (up @ down.flatten(1)).view(layer.shape)
    if has("hada_w1_a"):
        halves = [composed(factors[f"hada_w{i}_a"], factors[f"hada_w{i}_b"], factors.get(f"hada_t{i}")) for i in (1, 2)]
        return (halves[0] * halves[1]).view(layer.shape)
    small = factors["lokr_w1"] if has("lokr_w1") else factors["lokr_w1_a"] @ factors["lokr_w1_b"]
    large = factors["lokr_w2"].flatten(1) if has("lokr_w2") else composed(factors["lokr_w2_a"], factors["lokr_w2_b"], factors.get("lokr_t2"))
    taps = math.prod(layer.kernel)
    blocks = torch.einsum("lp,qnk->lqpnk", small, large.view(large.shape[0], -1, taps))
    return blocks.reshape(layer.shape)


def norms(weight, axis):
    kept = 0 if axis == "output" else 1
    return torch.linalg.vector_norm(weight, dim=[i for i in range(weight.dim()) if i != kept], keepdim=True)


@dataclass
class Source:
    file: Path
    weights: dict  # by written stem: the frozen weight, fp32
    effective: dict  # by written stem: fp64
    axis: str


@pytest.fixture(scope="module", params=[(kind, axis) for kind in KINDS for axis in ("none", "input", "output")], ids="-".join)
def source(request, tmp_path_factory):
    return make_source(*request.param, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module", params=KINDS)
def output_source(request, tmp_path_factory):
    return make_source(request.param, "output", tmp_path_factory.mktemp("source"))


def make_source(kind, axis, folder):
    torch.manual_seed(KINDS.index(kind) + 11)
    arrays, weights, effective = {}, {}, {}
    for layer in LAYERS:
        weight = 0.3 * torch.randn(layer.shape)
        factors = {name: torch.randn(shape) for name, shape in factor_shapes(kind, layer).items()}
        scale = 1.0 if kind == "lokr_whole" else ALPHA / RANK[kind.split("_")[0]]
        # As large as the weight.
        last = next(reversed(factors))
        factors[last] *= weight.norm() / (scale * change(factors, layer)).norm()
        for name, values in factors.items():
            arrays[f"{layer.source}.{name}"] = values.contiguous()
        arrays[f"{layer.source}.alpha"] = torch.tensor(ALPHA)
        frozen = weight.double()
        delta = scale * change({name: values.double() for name, values in factors.items()}, layer)
        assert delta.norm() / frozen.norm() > 0.3
        adapted = frozen + delta
        if axis != "none":
            magnitude = norms(weight, axis) * (0.7 + 0.6 * torch.rand_like(norms(weight, axis)))
            arrays[f"{layer.source}.dora_scale"] = magnitude
            adapted = magnitude.double() * adapted / norms(adapted, axis)
        weights[layer.written] = weight
        effective[layer.written] = adapted
    save_file(arrays, folder / "source.safetensors")
    return Source(folder / "source.safetensors", weights, effective, axis)


def convert(source, consumer, target, dtype="float32"):
    return subprocess.run([PROBE, source, consumer, target, dtype], capture_output=True, text=True, check=False)


def written_for(source, consumer, tmp_path):
    target = tmp_path / f"{consumer}.safetensors"
    done = convert(source.file, consumer, target)
    assert done.returncode == 0, done.stderr
    return load_file(target)


def error(ours, exact):
    return ((ours.double() - exact).abs().max() / exact.pow(2).mean().sqrt()).item()


# --- The programs' formulas -----------------------------------------------------------------------------------------------------------------


def layer_arrays(arrays, stem):
    return {name.removeprefix(f"{stem}."): values for name, values in arrays.items() if name.startswith(f"{stem}.")}


def scale_of(own):
    """alpha over the rank of whatever low-rank factor there is, the large one's first; 1 where both are whole."""
    for name, axis in (("lora_down.weight", 0), ("hada_w1_b", 0), ("lokr_w2_b", 0), ("lokr_w1_b", 0)):
        if name in own:
            return own["alpha"].item() / own[name].shape[axis]
    return 1.0


def plain_change(own, weight):
    layer = Layer("", "", weight.shape[0], weight.shape[1], tuple(weight.shape[2:]))
    return change(own, layer) * scale_of(own)


def comfyui(own, weight):
    """Since 2025-04, and Forge: rows where the first sizes agree, with the norm of the frozen weight; else columns."""
    adapted = weight + plain_change(own, weight)
    if "dora_scale" not in own:
        return adapted
    magnitude = own["dora_scale"]
    if magnitude.shape[0] == weight.shape[0]:
        norm = weight.flatten(1).norm(dim=1, keepdim=True).view(-1, *[1] * (weight.dim() - 1))
    else:
        norm = norms(adapted, "input")
    return adapted * (magnitude / (norm + EPSILON))


def a1111(own, weight):
    """Columns alone, with alpha inside and without an epsilon."""
    adapted = weight + plain_change(own, weight)
    return adapted * (own["dora_scale"] / norms(adapted, "input")) if "dora_scale" in own else adapted


PROGRAMS = {"comfyui": comfyui, "forge": comfyui, "a1111": a1111}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_compute_the_adapter_or_the_file_is_refused(source, program, tmp_path):
    if source.axis == "output":
        target = tmp_path / "refused.safetensors"
        done = convert(source.file, program, target)
        assert done.returncode == 2 and "output axis" in done.stderr and "merged" in done.stderr, done.stderr
        assert not list(tmp_path.iterdir())
        return
    arrays = written_for(source, program, tmp_path)
    assert {name.split(".")[0] for name in arrays} == set(source.weights)
    for stem, weight in source.weights.items():
        assert error(PROGRAMS[program](layer_arrays(arrays, stem), weight), source.effective[stem]) < EXACT, stem


def test_output_magnitudes_would_have_been_wrong(output_source, tmp_path):
    """Why they are refused: the formulas on the file that kohya's scripts are given."""
    arrays = written_for(output_source, "kohya", tmp_path)
    for stem, weight in output_source.weights.items():
        own, exact = layer_arrays(arrays, stem), output_source.effective[stem]
        update = (exact - weight).norm()
        wrong = comfyui(own, weight).double()
        assert (wrong - exact).norm() > 0.1 * update, stem
        # Too long by ‖V‖ / ‖W‖, row by row, and nothing else.
        adapted = weight.double() + plain_change(own, weight).double()
        assert error(wrong * norms(weight.double(), "output") / norms(adapted, "output"), exact) < EXACT, stem
        assert (a1111(own, weight).double() - exact).norm() > 0.1 * update, stem


# --- LyCORIS --------------------------------------------------------------------------------------------------------------------------------


def torch_layer(weight):
    if weight.dim() == 2:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    else:
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False)
    layer.weight.data.copy_(weight)
    return layer.requires_grad_(False)


# Its loader knows output magnitudes alone (a run's arguments say the axis), takes the wrong size for the rank of Tucker's LoKr, and makes no
# small factor of two parts on layers as small as these.
LOADABLE = [(kind, axis) for kind in KINDS if kind not in ("lokr_both", "lokr_tucker") for axis in ("none", "output")]


@pytest.mark.parametrize("kind, axis", LOADABLE)
def test_lycoris_loads_the_same_function(kind, axis, tmp_path):
    source = make_source(kind, axis, tmp_path)
    arrays = written_for(source, "kohya", tmp_path)
    for stem, weight in source.weights.items():
        algorithm, parameters = get_module(arrays, stem)
        module = make_module(algorithm, parameters, stem, torch_layer(weight))
        x = torch.randn(5, *((weight.shape[1],) if weight.dim() == 2 else (weight.shape[1], 6, 5)))
        exact = torch_layer(weight).double()
        exact.weight.data.copy_(source.effective[stem])
        with torch.no_grad():
            # It adds W and a difference from W, and an epsilon to every norm.
            assert error(module(x), exact(x.double())) < 4 * EXACT, stem


@pytest.mark.parametrize("axis", ["input", "output"])
def test_the_axis_stands_in_the_arguments_that_lycoris_is_given(axis, tmp_path):
    written_for(make_source("locon", axis, tmp_path), "kohya", tmp_path)
    with safe_open(tmp_path / "kohya.safetensors", "pt") as file:
        arguments = json.loads(file.metadata()["ss_network_args"])
    assert (arguments["dora_wd"], arguments["wd_on_output"]) == ("True", str(axis == "output"))


# --- Metadata -------------------------------------------------------------------------------------------------------------------------------


def test_hashes_are_those_of_the_reference_writer(tmp_path):
    torch.manual_seed(5)
    stem = LAYERS[0].source
    arrays = {f"{stem}.lora_down.weight": torch.randn(16, 20_000), f"{stem}.lora_up.weight": torch.randn(640, 16), f"{stem}.alpha": torch.tensor(8.0)}
    save_file(arrays, tmp_path / "source.safetensors", {"ss_training_comment": "naïve \"quoted\" \\ 猫"})
    for dtype in ("float32", "bfloat16"):
        target = tmp_path / f"{dtype}.safetensors"
        done = convert(tmp_path / "source.safetensors", "forge", target, dtype)
        assert done.returncode == 0, done.stderr
        with safe_open(target, "pt") as file:
            metadata = file.metadata()
        tensors = load_file(target)
        assert tensors[f"{LAYERS[0].written}.alpha"].dtype == torch.float32
        assert tensors[f"{LAYERS[0].written}.lora_up.weight"].dtype == getattr(torch, dtype)
        training = {key: value for key, value in metadata.items() if key.startswith("ss_")}
        assert training["ss_training_comment"] == "naïve \"quoted\" \\ 猫"
        content = save(tensors, training)
        header = int.from_bytes(content[:8], "little")
        assert metadata["sshs_model_hash"] == hashlib.sha256(content[8 + header:]).hexdigest()
        assert metadata["sshs_legacy_hash"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
        assert metadata["modelspec.hash_sha256"] == "0x" + hashlib.sha256(content[8 + header:]).hexdigest()
        # Whatever wrote the file, its data are the bytes after the header.
        own = target.read_bytes()
        assert own[8 + int.from_bytes(own[:8], "little"):] == content[8 + header:]
        assert metadata["ss_output_name"] == dtype
