"""Diffusion models in one file: the same as the folder that diffusers makes of the same arrays."""

import json
import os
import shutil
import subprocess

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import checkpoint_files
import diffusion_run
from dormer_run import run

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UNETS = {"sd1": {"attention_head_dim": 8}, "sd2": {"attention_head_dim": [1, 2, 2], "use_linear_projection": True},
         "sdxl": {"attention_head_dim": [1, 2, 2], "use_linear_projection": True, "transformer_layers_per_block": [1, 1, 2],
                  "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 128 + 6 * 256}}


def text_config(width, layers, activation):
    return CLIPTextConfig(vocab_size=514, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64,
                          max_position_embeddings=77, bos_token_id=512, eos_token_id=513, hidden_act=activation, projection_dim=width)


def filled(model, arrays, folder):
    """Strictly: what a name of ours hides would be missing."""
    wanted = model.state_dict()
    arrays = {name if name in wanted else name.removeprefix("text_model."): value for name, value in arrays.items()}
    model.load_state_dict({name: value for name, value in arrays.items() if name in wanted})
    model.save_pretrained(folder)


def autoencoder(arrays, folder, **settings):
    vae = AutoencoderKL(block_out_channels=[32, 64, 64], layers_per_block=2, down_block_types=["DownEncoderBlock2D"] * 3,
                        up_block_types=["UpDecoderBlock2D"] * 3, **settings)
    filled(vae, single_file_utils.convert_ldm_vae_checkpoint(dict(arrays), dict(vae.config)), folder / "vae")


def third_folder(arrays, folder):
    """Stable Diffusion 3.5, as diffusers' from_single_file takes it apart."""
    sizes = checkpoint_files.JOINT
    transformer = SD3Transformer2DModel(
        sample_size=128, num_layers=sizes["blocks"], attention_head_dim=64, num_attention_heads=sizes["heads"], joint_attention_dim=sizes["text"],
        caption_projection_dim=sizes["width"], pooled_projection_dim=sizes["pooled"], pos_embed_max_size=sizes["positions"],
        dual_attention_layers=tuple(sizes["dual"]), qk_norm="rms_norm")
    filled(transformer, single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(dict(arrays)), folder / "transformer")
    autoencoder(arrays, folder, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609)
    for name, part, width, layers, activation in (("text_encoder", "clip_l", 64, 3, "quick_gelu"), ("text_encoder_2", "clip_g", 128, 4, "gelu")):
        clip = single_file_utils.convert_ldm_clip_checkpoint(dict(arrays), remove_prefix=f"text_encoders.{part}.transformer.")
        if part == "clip_l":
            clip["text_projection.weight"] = torch.eye(width)
        filled(CLIPTextModelWithProjection(text_config(width, layers, activation)), clip, folder / name)
    diffusion_run.make_tokenizer(folder / "tokenizer", "<|endoftext|>")
    diffusion_run.make_tokenizer(folder / "tokenizer_2", "!")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))


def diffusers_folder(family, arrays, folder, prediction):
    if family == "sd3":
        third_folder(arrays, folder)
        return
    sizes = checkpoint_files.FAMILIES[family]
    down = [CROSS if attends else PLAIN for attends in sizes["attends"]]
    unet = UNet2DConditionModel(block_out_channels=sizes["channels"], cross_attention_dim=sizes["context"], down_block_types=down,
                                up_block_types=[name.replace("Down", "Up") for name in reversed(down)], **UNETS[family])
    filled(unet, single_file_utils.convert_ldm_unet_checkpoint(dict(arrays), dict(unet.config)), folder / "unet")
    autoencoder(arrays, folder, scaling_factor=0.13025 if family == "sdxl" else 0.18215)
    if family == "sd2":
        model = CLIPTextModel(text_config(64, 3, "gelu"))
        filled(model, single_file_utils.convert_open_clip_checkpoint(model, arrays, "cond_stage_model.model."), folder / "text_encoder")
    else:
        first = "cond_stage_model.transformer." if family == "sd1" else "conditioner.embedders.0.transformer."
        filled(CLIPTextModel(text_config(64, 3, "quick_gelu")), single_file_utils.convert_ldm_clip_checkpoint(arrays, remove_prefix=first), folder / "text_encoder")
    if family == "sdxl":
        model = CLIPTextModelWithProjection(text_config(128, 4, "gelu"))
        filled(model, single_file_utils.convert_open_clip_checkpoint(model, arrays, "conditioner.embedders.1.model."), folder / "text_encoder_2")
        diffusion_run.make_tokenizer(folder / "tokenizer_2", "!")
    diffusion_run.make_tokenizer(folder / "tokenizer", "!" if family == "sd2" else "<|endoftext|>")
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=prediction, steps_offset=1).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


@pytest.fixture
def vocabulary(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    diffusion_run.make_tokenizer(tmp_path / "vocabulary", "<|endoftext|>")
    return tmp_path / "vocabulary"


def sample(program, model, output, *arguments):
    run(program, "sample", "--model", model, "--prompt", "a red thing", "--steps", 3, "--guidance", 3.0, "--seed", 5, "--width", 64, "--height", 96,
        "--dtype", "float32", "--output", output, *arguments)
    return (output / "0000.png").read_bytes()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sd3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
def test_a_file_is_its_folder(program, family, dtype, vocabulary, tmp_path):
    """Pictures: of every weight of every part."""
    prediction = "v_prediction" if family == "sd2" else "epsilon"
    arrays = {name: value.to(dtype) if value.is_floating_point() else value for name, value in checkpoint_files.checkpoint(family).items()}
    save_file({name: value.contiguous() for name, value in arrays.items()}, tmp_path / "model.safetensors")
    diffusers_folder(family, {name: value.float() for name, value in arrays.items()}, tmp_path / "folder", prediction)
    told = ["--tokenizer", vocabulary, *(["--prediction", prediction] if family == "sd2" else [])]
    of_file = sample(program, tmp_path / "model.safetensors", tmp_path / "a", *told)
    assert of_file == sample(program, tmp_path / "folder", tmp_path / "b")
    assert len(list((tmp_path / "kept" / "dormer").iterdir())) == 1
    assert of_file == sample(program, tmp_path / "model.safetensors", tmp_path / "c", *told)  # found again
    assert len(list((tmp_path / "kept" / "dormer").iterdir())) == 1


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_training_on_a_file_is_training_on_its_folder(program, family, vocabulary, tmp_path):
    arrays = checkpoint_files.checkpoint(family)
    save_file(dict(arrays), tmp_path / "model.safetensors")
    diffusers_folder(family, arrays, tmp_path / "folder", "epsilon")
    denoiser, kind, axis = ("transformer", SD3Transformer2DModel, "output") if family == "sd3" else ("unet", UNet2DConditionModel, "input")
    diffusion_run.make_pictures(tmp_path / "pictures", 4, 1)
    adapters = []
    for name, model in (("file", "model.safetensors"), ("folder", "folder")):
        (tmp_path / f"{name}.yaml").write_text(f"""
run: {{directory: {tmp_path}/{name}-run, name: r, seed: 3, steps: 3, threads: 1, device: cpu}}
model: {{path: {tmp_path}/{model}, dtype: float32, train: [{denoiser}]}}
text: {{tokenizer: {vocabulary}}}
adapter: {{kind: lora, rank: 4, decompose: {{axis: {axis}}}, targets: attention-mlp}}
data: {{kind: images, resolution: [64], cache: {tmp_path}/cache-{name}, concepts: [{{path: {tmp_path}/pictures}}]}}
batch: {{global: 2}}
objective: {{kind: denoise}}
optimizer: {{learning_rate: 3.0e-2}}
export: [{{for: kohya}}, {{for: merged}}]
""")
        run(program, "train", tmp_path / f"{name}.yaml")
        adapters.append(next((tmp_path / f"{name}-run" / "export" / "kohya").glob("*.safetensors")).read_bytes())
    assert adapters[0] == adapters[1]
    merged = [tmp_path / f"{name}-run" / "export" / "merged" for name in ("file", "folder")]
    for part, kind in ((denoiser, kind), ("vae", AutoencoderKL), ("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
        first, second = (kind.from_pretrained(folder / part).state_dict() for folder in merged)
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first), part
    assert not list(merged[0].rglob("*.view.json")) and not list(merged[0].rglob("rearranged.safetensors"))


def refused(program, model, *arguments):
    done = subprocess.run([program, "sample", "--model", model, "--prompt", "a", "--output", os.devnull + "x", *map(str, arguments)],
                          capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if "is read through" not in line]
    assert len(errors) == 1, done.stderr
    return done.returncode, errors[0]


def test_what_a_file_lacks_is_named(program, vocabulary, tmp_path):
    second = checkpoint_files.checkpoint("sd2")
    file = tmp_path / "model.safetensors"
    save_file(dict(second), file)
    code, said = refused(program, file)
    assert code == 2 and "text.tokenizer" in said
    code, said = refused(program, file, "--tokenizer", vocabulary)
    assert code == 2 and "objective.prediction" in said
    code, said = refused(program, file, "--tokenizer", tmp_path)
    assert code == 3 and "vocab.json" in said
    shutil.copy(file, tmp_path / "model.ckpt")
    code, said = refused(program, tmp_path / "model.ckpt", "--tokenizer", vocabulary)
    assert code == 3 and "pickled" in said
    for gone, word in (("first_stage_model.", "autoencoder"), ("model.diffusion_model.", "input_blocks.0.0.weight"), ("cond_stage_model.", "text encoder")):
        save_file({name: value for name, value in second.items() if not name.startswith(gone)}, file)
        code, said = refused(program, file, "--tokenizer", vocabulary, "--prediction", "epsilon")
        assert code == 3 and word in said and str(file) in said
    save_file({name: value for name, value in second.items() if name != "model.diffusion_model.out.2.bias"}, file)
    code, said = refused(program, file, "--tokenizer", vocabulary, "--prediction", "epsilon")
    assert code == 3 and "conv_out.bias" in said and str(file) in said
    third = checkpoint_files.checkpoint("sd3")
    for gone, word in (("text_encoders.clip_g.", "text_encoders.clip_g"), ("first_stage_model.", "autoencoder"),
                       ("text_encoders.clip_g.transformer.text_projection", "text_projection")):
        save_file({name: value for name, value in third.items() if not name.startswith(gone)}, file)
        code, said = refused(program, file, "--tokenizer", vocabulary)
        assert code == 3 and word in said and str(file) in said
    assert not [path for path in (tmp_path / "kept" / "dormer").iterdir() if ".tmp-" in path.name]


@pytest.mark.parametrize("marker", ["array", "metadata"])
def test_velocity_is_read_from_the_file(program, marker, vocabulary, tmp_path):
    arrays = dict(checkpoint_files.checkpoint("sd1"))
    if marker == "array":
        arrays |= {"v_pred": torch.zeros(()), "ztsnr": torch.zeros(())}
    save_file(arrays, tmp_path / "model.safetensors", {"modelspec.prediction_type": "v"} if marker == "metadata" else None)
    sample(program, tmp_path / "model.safetensors", tmp_path / "a", "--tokenizer", vocabulary)
    scheduler = json.loads(next((tmp_path / "kept" / "dormer").glob("model-*/scheduler/scheduler_config.json")).read_text())
    assert scheduler["prediction_type"] == "v_prediction" and scheduler["rescale_betas_zero_snr"] == (marker == "array")
    assert scheduler["timestep_spacing"] == ("trailing" if marker == "array" else "leading")
