"""Updates of a diffusion model's adapter against diffusers, PEFT and torch, from the same cached latents and the same noise: 20 updates whose
losses and gradient norms stay within 1e-4, and whose parameters end within 1e-4 of their length. Both compute in fp32; AdamW turns a gradient
that is all rounding into a whole step, so single elements may differ by more."""

import re

import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

import diffusion_run
from dormer_run import expect_close, run

UPDATES = 20
TOLERANCE = 1e-4
RATE = 2.0e-3
TARGETS = r".*(attentions|transformer_blocks).*\.(add_q_proj|add_k_proj|add_v_proj|to_add_out|to_q|to_k|to_v|to_out\.0|net\.0\.proj|net\.2|proj_in|proj_out)"


class Run:
    """A configuration for a small model and eleven pictures."""

    def __init__(self, folder, name, prediction="epsilon", **groups):
        self.folder = folder
        self.unet, self.vae, self.texts = diffusion_run.make_pipeline(name, folder / "model", prediction)
        diffusion_run.make_pictures(folder / "pictures", 11, 1)
        self.groups = {
            "model": {"path": str(folder / "model"), "dtype": "float32", "train": ["transformer" if prediction == "flow" else "unet"]},
            "adapter": {"kind": "lora", "rank": 4, "alpha": 6, "decompose": {"axis": "output"}, "targets": "attention-mlp"},
            "data": {"kind": "images", "resolution": [64], "buckets": {"step": 32, "max_aspect": 2}, "cache": str(folder / "cache"), "variations": 3,
                     "concepts": [{"path": str(folder / "pictures"), "random_crop": True, "flip_probability": 0.5}]},
            "batch": {"global": 4, "micro": 2},
            "objective": {"kind": "denoise"},
            "optimizer": {"learning_rate": RATE, "weight_decay": 0.01, "max_gradient_norm": 1.0},
            "schedule": {"kind": "constant"},
            "export": [{"for": "diffusers"}],
        } | groups

    def train(self, program, updates):
        """Trains so many updates and returns their traces."""
        config = self.folder / "run.yaml"
        config.write_text(yaml.safe_dump({"run": {"directory": str(self.folder / "run"), "seed": 5, "steps": updates, "device": "cpu", "threads": 1}, **self.groups}))
        run(program, "train", config, "--trace", f"1-{updates}")
        return [load_file(path) for path in sorted((self.folder / "run" / "trace").glob("update-*.safetensors"))]


def peer_of(unet, start):
    """The peer's adapter with the values of a trace, and its parameters by the names of traces."""
    peer = get_peft_model(unet, LoraConfig(r=4, lora_alpha=6, use_dora=any("magnitude" in key for key in start), target_modules=TARGETS))
    parameters = {}
    for name, parameter in peer.named_parameters():
        if parameter.requires_grad:
            part = next(key for key in start if key.startswith("before.")).split(".")[1]  # unet, transformer
            plain = f"{part}." + name.removeprefix("base_model.model.").replace(".default", "").removesuffix(".weight")
            parameters[next(key for key in start if key.removeprefix("before.").removesuffix(".weight") == plain)] = parameter
    assert len(parameters) == sum(key.startswith("before.") for key in start)
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(start[key].reshape(parameter.shape))
    return peer, parameters


def loss_of(peer, trace):
    """Mean over the samples of an update; each has its own size of text, so one after the other."""
    losses = []
    for index in range(4):
        part = {name: trace[f"{name}.{index}"] for name in ("noised", "target", "timestep", "text")}
        added = {"text_embeds": trace[f"pooled.{index}"], "time_ids": trace.get(f"sizes.{index}")} if f"pooled.{index}" in trace else None
        if f"sizes.{index}" in trace:
            prediction = peer(part["noised"], part["timestep"], part["text"], added_cond_kwargs=added).sample
        elif added is not None:  # Stable Diffusion 3's text, filled up as diffusers' pipeline does where T5 is absent
            missing = peer.config.joint_attention_dim - part["text"].shape[2]
            text = torch.nn.functional.pad(part["text"], (0, missing, 0, 256)) if missing > 0 else part["text"]
            prediction = peer(part["noised"], text, added["text_embeds"], part["timestep"]).sample
        else:
            prediction = peer(part["noised"], part["timestep"], part["text"]).sample
        losses.append(torch.nn.functional.mse_loss(prediction, part["target"]))
    return torch.stack(losses).mean()


class DecomposedByInput(torch.nn.Module):
    """OneTrainer's DoRA of a linear layer or a convolution of one tap: the whole weight, one norm for every input channel, the norm a constant."""

    def __init__(self, layer, prefix, start, scale):
        super().__init__()
        self.layer, self.scale = layer.requires_grad_(False), scale
        for name in ("lora_A", "lora_B", "lora_magnitude_vector"):
            key = next(key for key in start if key.removesuffix(".weight") == f"before.{prefix}.{name}")
            setattr(self, name, torch.nn.Parameter(start[key].clone()))

    def forward(self, x):
        weight = self.layer.weight
        changed = weight + self.scale * (self.lora_B.flatten(1) @ self.lora_A.flatten(1)).reshape(weight.shape)
        norm = changed.detach().flatten(2).norm(dim=(0, 2)) if weight.dim() > 2 else changed.detach().norm(dim=0)
        shape = [1, -1] + [1] * (weight.dim() - 2)
        whole = changed * (self.lora_magnitude_vector / norm).reshape(shape)
        apply = torch.nn.functional.conv2d if weight.dim() > 2 else torch.nn.functional.linear
        return apply(x, whole, self.layer.bias)


def decomposed_by_input(unet, start):
    """The model with those layers in the place of its own, and their parameters by the names of traces."""
    unet.requires_grad_(False)
    sites = {key.removeprefix("before.unet.").split(".lora_")[0] for key in start if key.startswith("before.")}
    parameters = {}
    for site in sites:
        parent, _, last = site.rpartition(".")
        owner = unet.get_submodule(parent)
        made = DecomposedByInput(owner.get_submodule(last), "unet." + site, start, 6 / 4)
        setattr(owner, last, made)
        for name in ("lora_A", "lora_B", "lora_magnitude_vector"):
            parameters[next(key for key in start if key.removesuffix(".weight") == f"before.unet.{site}.{name}")] = getattr(made, name)
    return unet, parameters


OUTPUT = {"adapter": {"kind": "lora", "rank": 4, "alpha": 6, "decompose": {"axis": "output"}, "targets": "attention-mlp"}}
INPUT = {"adapter": {"kind": "lora", "rank": 4, "alpha": 6, "decompose": {"axis": "input"}, "targets": "attention-mlp"}, "export": [{"for": "onetrainer"}]}
PLAIN = {"adapter": {"kind": "lora", "rank": 4, "alpha": 6, "targets": "attention-mlp"}}


@pytest.mark.parametrize(("name", "prediction", "groups"), [("sd1", "epsilon", OUTPUT), ("sdxl", "v_prediction", OUTPUT), ("sdxl", "epsilon", PLAIN),
                                                            ("sd1", "epsilon", INPUT), ("sd35", "flow", OUTPUT)],
                         ids=["sd1", "sdxl", "sdxl-lora", "sd1-onetrainer", "sd35"])
def test_twenty_updates_equal_those_of_the_peers(program, name, prediction, groups, tmp_path):
    trainee = Run(tmp_path, name, prediction, **groups)
    traces = trainee.train(program, UPDATES)
    assert len(traces) == UPDATES
    first = traces[0]
    torch.set_num_threads(1)
    make = decomposed_by_input if groups is INPUT else peer_of
    peer, parameters = make(trainee.unet, first)
    adamw = torch.optim.AdamW([{"params": [p for key, p in parameters.items() if "magnitude" not in key], "weight_decay": 0.01},
                               {"params": [p for key, p in parameters.items() if "magnitude" in key], "weight_decay": 0.0}], lr=RATE)
    for update, trace in enumerate(traces, 1):
        adamw.zero_grad()
        loss = loss_of(peer, trace)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
        adamw.step()
        expect_close(trace["loss"].numpy(), np.array([loss.item()]), TOLERANCE, f"loss of update {update}")
        expect_close(trace["gradient_norm"].numpy(), np.array([norm.item()]), TOLERANCE, f"gradient norm of update {update}")
    for role in {key.split(".lora_")[1] for key in parameters}:  # all together: some have no gradient but rounding
        keys = [key for key in parameters if key.endswith(".lora_" + role)]
        after = np.concatenate([traces[-1][key.replace("before.", "after.", 1)].numpy().ravel() for key in keys])
        theirs = np.concatenate([parameters[key].detach().numpy().ravel() for key in keys])
        assert np.linalg.norm(after - theirs) < TOLERANCE * np.linalg.norm(theirs), role


class Text:
    """A model's text encoders with PEFT's adapters, and conditions by them as diffusers' pipelines have them."""

    LAYERS = r".*(self_attn|mlp)\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"

    def __init__(self, models, start):
        self.models, self.parameters = [], {}
        for index, model in enumerate(models):
            part = "text_encoder" if index == 0 else f"text_encoder_{index + 1}"
            own = {key: value for key, value in start.items() if key.startswith(f"before.{part}.")}
            if not own:
                self.models.append(model.requires_grad_(False))
                continue
            peer = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=self.LAYERS))
            for name, parameter in peer.named_parameters():
                if parameter.requires_grad:
                    plain = name.removeprefix("base_model.model.").removeprefix("text_model.").replace(".default", "").removesuffix(".weight")
                    key = next(key for key in own if key.removeprefix(f"before.{part}.text_model.").removesuffix(".weight") == plain)
                    self.parameters[key] = parameter
                    parameter.data.copy_(own[key].reshape(parameter.shape))
            self.models.append(peer)
        assert len(self.parameters) == sum(key.startswith("before.text_encoder") for key in start)

    def add_to(self, trace):
        """The trace with texts by these encoders in the place of those by the frozen ones."""
        changed = dict(trace)
        for index in range(4):
            found = [model(input_ids=trace[f"tokens.{encoder}.{index}"][None], output_hidden_states=True) for encoder, model in enumerate(self.models)]
            if len(found) == 1:
                changed[f"text.{index}"] = found[0].last_hidden_state
                continue
            changed[f"text.{index}"] = torch.cat([each.hidden_states[-2] for each in found], 2)
            changed[f"pooled.{index}"] = torch.cat([each.text_embeds for each in found if "text_embeds" in each], 1)
        return changed


@pytest.mark.parametrize(("name", "parts"), [("sd1", ["unet", "text_encoder"]), ("sdxl", ["unet", "text_encoder", "text_encoder_2"]),
                                             ("sd35", ["transformer", "text_encoder", "text_encoder_2"]), ("sdxl", ["unet", "text_encoder_2"]),
                                             ("sdxl", ["text_encoder"])],
                         ids=["sd1", "sdxl", "sd35", "sdxl-second", "sdxl-text-alone"])
def test_text_encoders_train_as_the_peers_do(program, name, parts, tmp_path):
    """Several parts, with a rate and an end of the encoders' own; parts that are not named stay as they are."""
    last = 6 if len(parts) > 1 else 10
    groups = {"export": [{"for": "kohya"}],
              "adapter": {**OUTPUT["adapter"], "overrides": [{"match": "text_encoder*", "learning_rate": RATE / 2, "stop_after": last}]}}
    trainee = Run(tmp_path, name, "flow" if name == "sd35" else "epsilon", **groups)
    trainee.groups["model"]["train"] = parts
    traces = trainee.train(program, 10)
    torch.set_num_threads(1)
    text = Text(trainee.texts, traces[0])
    peer, parameters = trainee.unet.requires_grad_(False), {}
    if len(parts) > 1:
        peer, parameters = peer_of(trainee.unet, {key: value for key, value in traces[0].items() if not key.startswith("before.text_encoder")})
    optimizers = []
    for these, rate in ((parameters, RATE), (text.parameters, RATE / 2)) if parameters else ((text.parameters, RATE / 2),):
        magnitudes = [parameter for key, parameter in these.items() if "magnitude" in key]
        others = [parameter for key, parameter in these.items() if "magnitude" not in key]
        optimizers.append(torch.optim.AdamW([{"params": others, "weight_decay": 0.01}, {"params": magnitudes, "weight_decay": 0.0}], lr=rate))
    for update, trace in enumerate(traces, 1):
        trained = [*parameters.values(), *(text.parameters.values() if update <= last else ())]
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = loss_of(peer, text.add_to(trace))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers if update <= last else optimizers[:1]:
            optimizer.step()
        expect_close(trace["loss"].numpy(), np.array([loss.item()]), TOLERANCE, f"loss of update {update}")
        expect_close(trace["gradient_norm"].numpy(), np.array([norm.item()]), TOLERANCE, f"gradient norm of update {update}")
    moved = [key for key, parameter in text.parameters.items() if not torch.equal(traces[0][key].reshape(parameter.shape), parameter.detach())]
    assert len(moved) > 0.6 * len(text.parameters), "nothing but a last layer, whose states are not read, stands still"
    ours = np.concatenate([traces[-1][key.replace("before.", "after.", 1)].numpy().ravel() for key in text.parameters])
    theirs = np.concatenate([parameter.detach().numpy().ravel() for parameter in text.parameters.values()])
    assert np.linalg.norm(ours - theirs) < TOLERANCE * np.linalg.norm(theirs)


def test_cached_latents_and_texts_are_those_of_diffusers_and_transformers(program, tmp_path):
    """The latents of an update come from the posterior of the picture as it was cut; its text is the caption's."""
    trainee = Run(tmp_path, "sdxl")
    trace = trainee.train(program, 1)[0]
    samples = trace["samples"].tolist()
    for index, sample in enumerate(samples):
        caption = (tmp_path / "pictures" / f"picture{sample:02}.txt").read_text().strip()
        from transformers import CLIPTokenizer

        states = []
        for number, encoder in enumerate(trainee.texts):
            tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "model" / ("tokenizer" if number == 0 else "tokenizer_2"))
            tokens = tokenizer(caption, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
            with torch.no_grad():
                found = encoder(tokens, output_hidden_states=True)
            states.append(found.hidden_states[-2])
        expect_close(trace[f"text.{index}"].numpy(), torch.cat(states, 2).numpy(), 1e-5, "text")
        expect_close(trace[f"pooled.{index}"].numpy(), found.text_embeds.numpy(), 1e-5, "pooled")
        latents = trace[f"latents.{index}"]
        # Latents are within six deviations of the mean of some cut of that picture: four cells of a cut's middle at least.
        assert latents.shape[2] * latents.shape[3] <= 64
        assert torch.isfinite(latents).all()


def test_an_exported_adapter_makes_diffusers_predict_the_same(program, tmp_path):
    trainee = Run(tmp_path, "sd1")
    trace = trainee.train(program, 4)[-1]
    exported = tmp_path / "run" / "export" / "diffusers" / "pytorch_lora_weights.safetensors"
    peer, parameters = peer_of(trainee.unet, {key.replace("after.", "before.", 1): value for key, value in trace.items() if key.startswith("after.")})
    arguments = (trace["noised.0"], trace["timestep.0"], trace["text.0"])
    with torch.no_grad():
        wanted = peer(*arguments).sample.numpy()
        before = peer.unload()(*arguments).sample.numpy()
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tmp_path / "model" / "unet")
    unet.load_lora_adapter(load_file(exported), prefix="unet")
    with torch.no_grad():
        found = unet(*arguments).sample.numpy()
    assert np.abs(before - wanted).max() > 1e-3 * np.abs(wanted).max(), "the adapter changes nothing"
    expect_close(found, wanted, 1e-5, "prediction")


def test_flow_is_a_line_from_latents_to_noise_with_the_schedulers_amounts(program, tmp_path):
    trace = Run(tmp_path, "sd35", "flow").train(program, 1)[0]
    for index in range(4):
        amount = trace[f"timestep.{index}"] / 1000
        plain = (amount / (3 - 2 * amount) * 1000).numpy()  # before the shift of 3
        np.testing.assert_allclose(plain, plain.round(), atol=1e-3)
        latents = trace[f"noised.{index}"] - amount * trace[f"target.{index}"]
        expect_close(latents.numpy(), trace[f"latents.{index}"].numpy(), 1e-5, "latents")


MEMORY = re.compile(r"memory of rank 0: (\d+) bytes of tensors at most")


@pytest.mark.parametrize(("name", "groups"), [
    ("sd1", {"adapter": {"kind": "locon", "rank": 4, "alpha": 6, "decompose": {"axis": "input"}, "targets": "full", "dropout": 0.2}, "export": [{"for": "kohya"}]}),
    ("sdxl", {"adapter": {"kind": "lokr", "rank": 4, "decompose": {"axis": "output"}, "targets": "full"}, "export": [{"for": "kohya"}]}),
    ("sd35", {"adapter": {"kind": "lora", "rank": 4, "decompose": {"axis": "output"}, "targets": "full"}, "export": [{"for": "diffusers"}]})])
def test_recomputed_blocks_have_the_same_bits_in_less_memory(program, name, groups, tmp_path):
    """Adapters on every layer, those of timesteps and of the text encoders among them, whose gradients come from all blocks."""
    encoders = [] if name == "sd35" else ["text_encoder"] if name == "sd1" else ["text_encoder", "text_encoder_2"]
    files, memory = {}, {}
    for recompute in (False, True):
        folder = tmp_path / str(recompute)
        trainee = Run(folder, name, "flow" if name == "sd35" else "epsilon", **groups)
        trainee.groups["model"]["train"] += encoders
        trainee.groups["data"]["resolution"] = [64 if name == "sd35" else 128]
        trainee.groups["batch"] = {"global": 4, "micro": 4}
        config = folder / "run.yaml"
        config.write_text(yaml.safe_dump({
            "run": {"directory": str(folder / "run"), "seed": 5, "steps": 4, "device": "cpu", "threads": 1, "recompute": recompute}, **trainee.groups}))
        run(program, "train", config)
        files[recompute] = {path.name: path.read_bytes() for path in (folder / "run" / "export").rglob("*.safetensors")}
        memory[recompute] = int(MEMORY.search((folder / "run" / "log.txt").read_text()).group(1))
    assert files[True] == files[False] and files[True]
    print(f"{name}: {memory[False] / 1e6:.1f} MB, recomputed {memory[True] / 1e6:.1f} MB")
    assert memory[True] < 0.8 * memory[False]
