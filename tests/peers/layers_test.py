"""One adapted layer of every kind beside LyCORIS's and PEFT's own modules: outputs, gradients and ten updates, in fp32, with changes as large
as the weight so that a wrong formula cannot hide."""

import copy
import os
import subprocess
from dataclasses import dataclass, field

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from peft.tuners.loha.layer import HadaWeightCP
from safetensors.torch import load_file, save_file
from torch import nn
from torch.autograd.gradcheck import GradcheckError

from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule

UPDATES = 10
LEARNING_RATE = 1e-2
# Both sides round sums of at most some thousand products in fp32 and run ten updates from there; ours must be the same function within
EXACT = 1e-4

LAYERS = {
    "linear": (lambda: nn.Linear(54, 36), (7, 54)),
    "wide": (lambda: nn.Linear(60, 128, bias=False), (3, 60)),
    "conv1d": (lambda: nn.Conv1d(10, 12, 3, padding=1), (2, 10, 9)),
    "conv2d": (lambda: nn.Conv2d(10, 12, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 10, 7, 6)),
    "pointwise": (lambda: nn.Conv2d(14, 9, 1), (2, 14, 5, 4)),
    "conv3d": (lambda: nn.Conv3d(6, 8, (2, 3, 1), padding=(0, 1, 0)), (2, 6, 4, 5, 3)),
    "grouped": (lambda: nn.Conv2d(18, 12, 3, padding=1, groups=3, bias=False), (2, 18, 5, 5)),
    "embedding": (lambda: nn.Embedding(61, 20), (9,)),
}


@dataclass
class Case:
    kind: str
    layer: str
    axis: str = "none"
    rank: int = 4
    options: dict = field(default_factory=dict)
    peer_options: dict = field(default_factory=dict)

    def __str__(self):
        return "-".join([self.kind, self.layer, self.axis, *map(str, self.options)])


def probe(folder, arrays, keys):
    program = os.path.join(os.environ["DORMER_BUILD"], "tests", "layer_probe")
    save_file({name: values.detach().contiguous() for name, values in arrays.items()}, folder / "in.safetensors")
    words = [f"{key}={value}" for key, value in keys.items()]
    done = subprocess.run([program, folder / "in.safetensors", folder / "out.safetensors", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "out.safetensors")


def geometry(layer):
    if isinstance(layer, nn.Linear):
        return {"form": "linear"}
    if isinstance(layer, nn.Embedding):
        return {"form": "embedding"}
    return {"form": "convolution", "groups": layer.groups,
            **{key: ",".join(map(str, getattr(layer, key))) for key in ("stride", "padding", "dilation")}}


def make_layer(name, seed=3):
    torch.manual_seed(seed)
    make, shape = LAYERS[name]
    layer = make().requires_grad_(False)
    x = torch.randint(0, 61, shape) if name == "embedding" else torch.randn(shape)
    return layer, x


def spread(parameters, deviation):
    """Parameters far from their start, magnitudes off the norms."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if "dora_scale" in name or "magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(deviation * torch.randn_like(parameter))


def error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.pow(2).mean().sqrt().clamp_min(1e-12)).item()


def compare(tmp_path, layer, module, parameters, ours_of, x, keys, forward_alone=False, constants=None, before_update=None):
    """`ours_of` maps one of the peer's parameters, or its gradient, to (our name, values in our shape). `before_update` is told our output and
    the number of each update, to drop what we drop."""
    spread(parameters, 0.8 if keys.get("tucker") else 0.4)  # a product of more factors is smaller
    x = x if x.dtype == torch.int64 else x.requires_grad_(True)
    target = torch.randn_like(module(x).detach())
    arrays = {"weight": layer.weight, "x": x, "target": target}
    if getattr(layer, "bias", None) is not None:
        arrays["bias"] = layer.bias
    arrays |= constants or {}
    arrays |= dict(ours_of(name, parameter.detach().clone()) for name, parameter in parameters.items())
    ours = probe(tmp_path, arrays, geometry(layer) | {"updates": UPDATES, "learning_rate": LEARNING_RATE} | keys)
    shift = ours["delta"].norm() / layer.weight.norm()
    assert shift > 0.3, f"a change of {shift:.2f} of the weight hides mistakes"
    if forward_alone:
        assert error(ours["y"], module(x).detach()) < EXACT / 10
        return
    optimizer = torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE, weight_decay=0.0)
    for step in range(UPDATES):
        optimizer.zero_grad()
        if before_update:
            before_update(ours, step)
        y = module(x)
        (0.5 * (y - target).pow(2).mean()).backward()
        for parameter in parameters.values():
            if parameter.grad is None:  # what took no part has a gradient of zero with us
                parameter.grad = torch.zeros_like(parameter)
        if step == 0:
            assert error(ours["y"], y.detach()) < EXACT / 10
            if x.requires_grad:
                assert error(ours["x_gradient"], x.grad) < EXACT
            for name, parameter in parameters.items():
                own, gradient = ours_of(name, parameter.grad)
                assert error(ours[f"gradient.{own}"], gradient) < EXACT, own
        optimizer.step()
    for name, parameter in parameters.items():
        own, values = ours_of(name, parameter.detach())
        assert error(ours[f"updated.{own}"], values) < EXACT, own


# --- LyCORIS --------------------------------------------------------------------------------------------------------------------------------

LYCORIS = {"locon": LoConModule, "loha": LohaModule, "lokr": LokrModule}


def lycoris_cases():
    for kind, layers in {"locon": ["linear", "conv1d", "conv2d", "pointwise", "conv3d", "grouped"],
                         "loha": ["linear", "conv1d", "conv2d", "grouped"], "lokr": ["linear", "wide", "conv1d", "conv2d", "grouped"]}.items():
        for layer in layers:
            for axis in ("none", "output", "input"):
                yield Case(kind, layer, axis, rank=2 if kind == "lokr" else 4)
        for axis in ("none", "output", "input"):
            yield Case(kind, "conv2d", axis, 2, {"tucker": 1}, {"use_tucker": True})
    for axis in ("none", "output", "input"):
        yield Case("lokr", "linear", axis, 2, {"factor": 4}, {"factor": 4})
        yield Case("lokr", "wide", axis, 2, {"decompose_both": 1}, {"decompose_both": True})
        yield Case("lokr", "conv2d", axis, 2, {"full_matrix": 1}, {"full_matrix": True})
    yield Case("locon", "linear", "none", 4, {"rank_stabilized": 1}, {"rs_lora": True})


def from_lycoris(layer, tucker):
    kernel = list(layer.weight.shape[2:])

    def ours(name, values):
        name = name.removesuffix(".weight")
        if name == "lora_down":
            return "lora_A", values
        if name == "lora_up":
            return "lora_B", values.flatten(1).T
        if name == "dora_scale":
            return "magnitude", values.flatten()
        if name in ("hada_w1_a", "hada_w2_a", "lokr_w2_a") and not tucker or name == "lokr_w1_a":
            return name, values.T
        if name in ("hada_w1_b", "hada_w2_b", "lokr_w2_b") and not tucker:
            return name, values.reshape(values.shape[0], -1, *kernel)
        return name, values

    return ours


@pytest.mark.parametrize("case", list(lycoris_cases()), ids=str)
def test_like_lycoris(case, tmp_path):
    layer, x = make_layer(case.layer)
    module = LYCORIS[case.kind]("lora", layer, 1.0, case.rank, 2 * case.rank, weight_decompose=case.axis != "none",
                                wd_on_out=case.axis == "output", **case.peer_options)
    module.apply_to()
    parameters = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    keys = {"kind": case.kind, "rank": case.rank, "alpha": 2 * case.rank, "axis": case.axis, "profile": "lycoris"} | case.options
    compare(tmp_path, layer, layer, parameters, from_lycoris(layer, bool(case.options.get("tucker"))), x, keys)


# --- PEFT -----------------------------------------------------------------------------------------------------------------------------------


def peft_cases():
    for layer in ("linear", "conv1d", "conv2d", "conv3d", "embedding"):
        kind = "locon" if layer.startswith("conv") else "lora"
        yield Case(kind, layer, "none")
        yield Case(kind, layer, "output")
    yield Case("lora", "linear", "none", 4, {"rank_stabilized": 1}, {"use_rslora": True})
    yield Case("lora", "linear", "output", 4, {"rank_stabilized": 1}, {"use_rslora": True})
    for layer in ("linear", "conv1d", "conv2d"):
        yield Case("loha", layer)
        yield Case("lokr", layer, rank=2)
    yield Case("loha", "conv2d", "none", 3, {"tucker": 1}, {"use_effective_conv2d": True})
    yield Case("lokr", "conv2d", "none", 2, {"tucker": 1}, {"use_effective_conv2d": True})
    yield Case("lokr", "wide", "none", 2, {"decompose_both": 1}, {"decompose_both": True})


def from_peft(layer, tucker):
    shared = from_lycoris(layer, tucker)

    def ours(name, values):
        name = name.replace("base_model.model.layer.", "").replace(".default", "").removesuffix(".weight")
        if name == "lora_A":
            return name, values
        if name == "lora_B":
            return name, values.flatten(1).T
        if name == "lora_embedding_B":
            return name, values.T
        if name == "lora_magnitude_vector":
            return "magnitude", values.flatten()
        return shared(name, values)

    return ours


@pytest.mark.parametrize("case", list(peft_cases()), ids=str)
def test_like_peft(case, tmp_path):
    layer, x = make_layer(case.layer)
    shared = {"r": case.rank, "target_modules": ["layer"]}
    if case.kind == "loha":
        config = LoHaConfig(alpha=2 * case.rank, **shared, **case.peer_options)
    elif case.kind == "lokr":
        config = LoKrConfig(alpha=2 * case.rank, **shared, **case.peer_options)
    else:
        config = LoraConfig(lora_alpha=2 * case.rank, use_dora=case.axis == "output", **shared, **case.peer_options)
    wrapped = get_peft_model(_Holder(layer), config)
    parameters = {name: parameter for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    keys = {"kind": case.kind, "rank": case.rank, "alpha": 2 * case.rank, "axis": case.axis, "profile": "peft"} | case.options
    tucker = bool(case.options.get("tucker"))
    compare(tmp_path, layer, wrapped, parameters, from_peft(layer, tucker), x, keys, forward_alone=case.kind == "loha" and tucker)


def falling(layer):
    """The layer with singular values that halve, so that a randomized decomposition finds the largest ones."""
    with torch.no_grad():
        left, _, right = torch.linalg.svd(layer.weight, full_matrices=False)
        layer.weight.copy_(left * torch.exp2(-torch.arange(left.shape[1], dtype=torch.float32)) @ right)
    return layer


@pytest.mark.parametrize("axis", ["none", "output"])
@pytest.mark.parametrize("stabilized", [False, True], ids=["plain", "rslora"])
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora"])
def test_factors_of_the_weight_like_peft(start, stabilized, axis, tmp_path):
    """The same parts of the weight at the start; and from PEFT's factors, whose signs are its library's, the same training."""
    rank = 4
    layer, x = make_layer("linear")
    base = falling(layer)
    layer = copy.deepcopy(base)
    wrapped = get_peft_model(_Holder(layer), LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["layer"], init_lora_weights=start,
                                                        use_rslora=stabilized, use_dora=axis == "output"))
    parameters = {name: parameter for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    ours_of = from_peft(base, False)
    first = dict(ours_of(name, parameter.detach().clone()) for name, parameter in parameters.items())
    keys = {"kind": "lora", "rank": rank, "alpha": 2 * rank, "rank_stabilized": int(stabilized), "axis": axis,
            "start": start.split("_niter_")[0] + ("_fast" if "niter" in start else "")}
    if "niter" in start:
        keys["start_iterations"] = start.split("_niter_")[1]
    own = probe(tmp_path, {"weight": base.weight, "bias": base.bias, "x": x, "target": base(x)}, geometry(base) | keys)
    assert error(own["start.lora_B"].T @ own["start.lora_A"], first["lora_B"].T @ first["lora_A"]) < EXACT
    assert error(own["y"], wrapped(x).detach()) < EXACT / 10
    assert own["delta"].abs().max() == 0
    assert error(wrapped.base_model.model.layer.get_base_layer().weight, base.weight) > 0.1, "PEFT has moved the base"
    if axis == "output":
        assert error(own["updated.magnitude"], first["magnitude"]) < EXACT
    constants = {f"start.{name}": first[name] for name in ("lora_A", "lora_B")}
    compare(tmp_path, base, wrapped, parameters, ours_of, x, keys, constants=constants)


def test_gaussian_is_distributed_like_pefts(tmp_path):
    rank = 4
    layer = nn.Linear(5000, 8, bias=False)
    x = torch.randn(2, 5000)
    own = probe(tmp_path, {"weight": layer.weight, "x": x, "target": layer(x)}, {"rank": rank, "alpha": rank, "start": "gaussian"})
    wrapped = get_peft_model(_Holder(layer), LoraConfig(r=rank, target_modules=["layer"], init_lora_weights="gaussian"))
    theirs = wrapped.base_model.model.layer.lora_A["default"].weight.detach()
    for ours, expected in ((own["updated.lora_A"].mean(), theirs.mean()), (own["updated.lora_A"].std(), theirs.std())):
        # 20000 numbers of deviation 1/4: standard errors 0.0018 and 0.0013 on either side
        assert abs(ours - expected) < 0.01
    assert own["updated.lora_B"].abs().max() == 0


def test_pefts_backward_of_tucker_loha_is_not_the_gradient_of_its_forward():
    """Why that form is compared by its output alone; LyCORIS's gradients are ours. When this fails, PEFT has mended it: compare the rest, too."""
    torch.manual_seed(0)
    rank, out, channels = 3, 5, 4

    def random(*shape):
        return torch.randn(*shape, dtype=torch.double, requires_grad=True)

    halves = [tensor for _ in range(2) for tensor in (random(rank, rank, 2, 2), random(rank, out), random(rank, channels))]
    scale = torch.tensor(1.0, dtype=torch.double)
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(lambda *tensors: HadaWeightCP.apply(*tensors, scale), halves)


class _Holder(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)
