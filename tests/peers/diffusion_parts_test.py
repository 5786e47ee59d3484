"""The parts of a diffusion model against diffusers and transformers, in fp32: outputs within 1e-5 of the largest.

The peers' own fp32 outputs on these models are up to 3e-6 away from their fp64 ones."""

import os

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import diffusion_models
from dormer_run import expect_close, run

TOLERANCE = 1e-5


@pytest.fixture(scope="session")
def probe():
    return os.path.join(os.environ["DORMER_BUILD"], "tests", "diffusion_probe")


def random(shape, seed, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def ask(probe, command, model, arrays, folder, *extra):
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, folder / "in.safetensors")
    run(probe, command, model, folder / "in.safetensors", folder / "out.safetensors", *extra)
    return load_file(folder / "out.safetensors")


def denoiser_inputs(name, samples=2, height=16, width=12, tokens=11):
    sizes = diffusion_models.UNETS[name]
    cross = sizes["cross_attention_dim"]
    arrays = {"latents": random((samples, sizes.get("in_channels", 4), height, width), 1),
              "timesteps": np.linspace(7, 961, samples).round().astype(np.float32),
              "text": random((samples, tokens, cross[0] if isinstance(cross, list) else cross), 2)}
    if "addition_embed_type" in sizes:
        arrays["pooled"] = random((samples, 24), 3)
        arrays["sizes"] = np.array([[768, 512, 0, 16, 512, 384], [1024, 1536, 64, 0, 512, 384]][:samples], np.float32)
    return arrays


def predict(model, arrays):
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    added = {"text_embeds": tensors["pooled"], "time_ids": tensors["sizes"]} if "pooled" in tensors else None
    return model(tensors["latents"], tensors["timesteps"], tensors["text"], added_cond_kwargs=added).sample


@pytest.mark.parametrize("size", [(16, 12), (13, 17)], ids=["even", "odd"])
@pytest.mark.parametrize("name", diffusion_models.UNETS)
def test_predictions_equal_those_of_diffusers(probe, name, size, tmp_path):
    model = diffusion_models.make_unet(name, tmp_path)
    arrays = denoiser_inputs(name, height=size[0], width=size[1])
    ours = ask(probe, "denoise", tmp_path, arrays, tmp_path)["prediction"]
    with torch.no_grad():
        theirs = predict(model, arrays).numpy()
    expect_close(ours, theirs, TOLERANCE, "prediction")


def transformer_inputs(name, height, width, samples=2, tokens=11):
    sizes = diffusion_models.TRANSFORMERS[name]
    return {"latents": random((samples, sizes["in_channels"], height, width), 1), "timesteps": np.linspace(7, 961, samples).astype(np.float32),
            "text": random((samples, tokens, sizes["joint_attention_dim"]), 2), "pooled": random((samples, sizes["pooled_projection_dim"]), 3)}


def predict_flow(model, arrays):
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return model(tensors["latents"], tensors["text"], tensors["pooled"], tensors["timesteps"]).sample


@pytest.mark.parametrize("size", [(16, 12), (6, 22)], ids=["upright", "wide"])
@pytest.mark.parametrize("name", diffusion_models.TRANSFORMERS)
def test_predictions_of_transformers_equal_those_of_diffusers(probe, name, size, tmp_path):
    model = diffusion_models.make_transformer(name, tmp_path)
    arrays = transformer_inputs(name, *size)
    ours = ask(probe, "denoise", tmp_path, arrays, tmp_path)["prediction"]
    with torch.no_grad():
        theirs = predict_flow(model, arrays).numpy()
    expect_close(ours, theirs, TOLERANCE, "prediction")


@pytest.mark.parametrize("name", diffusion_models.AUTOENCODERS)
def test_latents_and_images_equal_those_of_diffusers(probe, name, tmp_path):
    model = diffusion_models.make_autoencoder(name, tmp_path)
    (tmp_path / "scheduler").mkdir()
    channels = diffusion_models.AUTOENCODERS[name]["latent_channels"]
    arrays = {"images": random((2, 3, 64, 48), 1, 0.5).clip(-1, 1), "latents": random((2, channels, 6, 5), 2)}
    ours = ask(probe, "autoencoder", tmp_path, arrays, tmp_path)
    with torch.no_grad():
        posterior = model.encode(torch.from_numpy(arrays["images"])).latent_dist
        images = model.decode(torch.from_numpy(arrays["latents"])).sample
    expect_close(ours["moments"], torch.cat([posterior.mean, posterior.logvar], 1).numpy(), TOLERANCE, "moments")
    expect_close(ours["images"], images.numpy(), TOLERANCE, "images")


SCHEDULES = {
    "sd": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "zero-snr": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True},
    "linear": {"beta_schedule": "linear", "num_train_timesteps": 400},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_schedules_equal_those_of_diffusers(probe, name, tmp_path):
    """The peer multiplies a thousand fp32 numbers: 1e-5 of each signal, but where it has come near nothing."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(**SCHEDULES[name])
    scheduler.save_pretrained(tmp_path / "scheduler")
    ours = ask(probe, "schedule", tmp_path, {"none": np.zeros(1, np.float32)}, tmp_path)["signal"]
    np.testing.assert_allclose(ours, scheduler.alphas_cumprod.sqrt().numpy(), rtol=1e-5, atol=1e-6)


def tokens_of(sizes, seed, samples=3, length=77):
    """Texts of several lengths, closed and filled up as the tokenizers do."""
    values = np.full((samples, length), sizes["pad_token_id"], np.int64)
    generator = np.random.default_rng(seed)
    for row, words in zip(values, (5, 40, 75), strict=True):
        row[: words + 2] = [sizes["bos_token_id"], *generator.integers(1, 290, words), sizes["eos_token_id"]]
    return values


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("name", diffusion_models.TEXT_ENCODERS)
def test_text_states_equal_those_of_transformers(probe, name, skip, tmp_path):
    models = diffusion_models.make_text_encoders(name, tmp_path)
    arrays = {f"tokens.{index}": tokens_of(sizes, 9) for index, sizes in enumerate(diffusion_models.TEXT_ENCODERS[name])}
    ours = ask(probe, "conditions", tmp_path, arrays, tmp_path, skip)
    with torch.no_grad():
        found = [model(torch.from_numpy(arrays[f"tokens.{index}"]), output_hidden_states=True) for index, model in enumerate(models)]
        if len(models) == 1:
            text = getattr(models[0], "text_model", models[0])
            states = text.final_layer_norm(found[0].hidden_states[-1 - skip])
        else:
            states = torch.cat([each.hidden_states[-2 - skip] for each in found], 2)
            pooled = torch.cat([each.text_embeds for each in found if "text_embeds" in each], 1)
            expect_close(ours["pooled"], pooled.numpy(), TOLERANCE, "pooled")
    expect_close(ours["states"], states.numpy(), TOLERANCE, "states")


ADAPTERS = {
    "lora": ("{kind: lora, rank: 6, alpha: 9, targets: attention-mlp}", {}),
    "dora": ("{kind: lora, rank: 6, alpha: 9, targets: attention-mlp, decompose: {axis: output}}", {"use_dora": True}),
    "locon": ("{kind: locon, rank: 4, alpha: 6, targets: [full, conv_in, conv_out]}", {"target_modules": "all-linear-and-convolutions"}),
    "locon-dora": ("{kind: locon, rank: 4, alpha: 6, targets: [full, conv_in, conv_out], decompose: {axis: output}}",
                   {"use_dora": True, "target_modules": "all-linear-and-convolutions"}),
}
TRANSFORMER_LAYERS = r".*attentions.*\.(to_q|to_k|to_v|to_out\.0|net\.0\.proj|net\.2|proj_in|proj_out)"


def adapted(model, case, found, part="unet", layers=TRANSFORMER_LAYERS):
    """The peer's model with the values that ours had; and its parameters by our names."""
    from peft import LoraConfig, get_peft_model

    options = dict(ADAPTERS[case][1])
    if options.pop("target_modules", None):
        kinds = (torch.nn.Linear, torch.nn.Conv2d)
        targets = [name for name, module in model.named_modules() if isinstance(module, kinds)]
        rank = 4
    else:
        targets, rank = layers, 6
    peer = get_peft_model(model, LoraConfig(r=rank, lora_alpha=1.5 * rank, target_modules=targets, **options))
    parameters = {}
    for name, parameter in peer.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = part + "." + name.removeprefix("base_model.model.").replace(".default", "").removesuffix(".weight")
        parameters[plain.replace("lora_magnitude_vector", "magnitude")] = parameter
    ours = {name.removeprefix("value."): values for name, values in found.items() if name.startswith("value.")}
    assert parameters.keys() == ours.keys(), sorted(parameters.keys() ^ ours.keys())[:6]
    with torch.no_grad():
        for name, parameter in parameters.items():
            values = torch.from_numpy(ours[name])
            parameter.copy_((values.T if name.endswith("lora_B") else values).reshape(parameter.shape))
    return peer, parameters


@pytest.mark.parametrize("case", ADAPTERS)
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_gradients_of_adapters_equal_those_of_peft(probe, name, case, tmp_path):
    """Within 1e-4 of each parameter's largest."""
    model = diffusion_models.make_unet(name, tmp_path)
    arrays = denoiser_inputs(name)
    arrays["target"] = random((2, 4, 16, 12), 8)
    ours = ask(probe, "gradients", tmp_path, arrays, tmp_path, ADAPTERS[case][0])
    with torch.no_grad():
        before = predict(model, arrays).numpy()
    peer, parameters = adapted(model, case, ours)
    prediction = predict(peer, arrays)
    torch.nn.functional.mse_loss(prediction, torch.from_numpy(arrays["target"])).backward()
    assert np.abs(before - ours["prediction"]).max() > 0.05 * np.abs(before).max(), "the adapter changes nothing"
    expect_close(ours["prediction"], prediction.detach().numpy(), TOLERANCE, "prediction")
    for key, parameter in parameters.items():
        gradient = parameter.grad.numpy()
        gradient = gradient.reshape(gradient.shape[0], -1).T.reshape(ours["gradient." + key].shape) if key.endswith("lora_B") else gradient
        expect_close(ours["gradient." + key], gradient.reshape(ours["gradient." + key].shape), 1e-4, key)


JOINT_LAYERS = r"transformer_blocks.*\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out|net\.0\.proj|net\.2)"


@pytest.mark.parametrize("case", ["lora", "dora"])
@pytest.mark.parametrize("name", diffusion_models.TRANSFORMERS)
def test_gradients_on_transformers_equal_those_of_peft(probe, name, case, tmp_path):
    model = diffusion_models.make_transformer(name, tmp_path)
    arrays = transformer_inputs(name, 16, 12)
    arrays["target"] = random((2, 16, 16, 12), 8)
    ours = ask(probe, "gradients", tmp_path, arrays, tmp_path, ADAPTERS[case][0])
    with torch.no_grad():
        before = predict_flow(model, arrays).numpy()
    peer, parameters = adapted(model, case, ours, "transformer", JOINT_LAYERS)
    prediction = predict_flow(peer, arrays)
    torch.nn.functional.mse_loss(prediction, torch.from_numpy(arrays["target"])).backward()
    assert np.abs(before - ours["prediction"]).max() > 0.05 * np.abs(before).max(), "the adapter changes nothing"
    expect_close(ours["prediction"], prediction.detach().numpy(), TOLERANCE, "prediction")
    for key, parameter in parameters.items():
        gradient = parameter.grad.numpy()
        if not gradient.any():  # what the text asks in the last block, whose answer nobody reads
            assert ".add_q_proj." in key and not ours["gradient." + key].any()
            continue
        gradient = gradient.T if key.endswith("lora_B") else gradient
        expect_close(ours["gradient." + key], gradient.reshape(ours["gradient." + key].shape), 1e-4, key)
