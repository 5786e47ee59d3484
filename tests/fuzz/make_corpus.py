#!/usr/bin/env python3
"""Writes the corpus of fuzz_readers: make_corpus.py [FOLDER]. Small files of every form that the readers know; equal calls on one machine give equal files.

Needs h5py, numpy and Pillow, and the program with its test tools ($DORMER_PROGRAM, $DORMER_BUILD) for what only it writes: a checkpoint and its own HDF5.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image, ImageCms

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "launch"))
from prepare_clip_vocabulary import write_folder

NUMPY = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64, "U8": np.uint8}
TOKENIZER = {"version": "1.0", "added_tokens": [{"id": 3, "content": "é", "special": True}],
             "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
CHECKPOINT_RUN = """
run: {directory: run, seed: 3, steps: 4, threads: 1, device: cpu}
model: {path: model, dtype: float32}
adapter: {kind: lora, rank: 1, alpha: 1, decompose: {axis: output}, targets: [model.layers.0.self_attn.q_proj]}
data: {train: train.h5, validation: validation.h5, sequence_length: 16}
batch: {global: 2, micro: 1}
validation: {every: 2, samples: 2}
checkpoint: {every: 2, keep: {last: 1}}
"""


def safetensors(path, tensors, metadata=None):
    """`tensors`: name to (dtype, shape). Values count up in small steps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header, data = {} if metadata is None else {"__metadata__": metadata}, b""
    for name, (dtype, shape) in tensors.items():
        values = (np.arange(int(np.prod(shape))) % 17 - 8) / 16
        if dtype == "BF16":
            piece = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        else:
            piece = values.astype(NUMPY[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def text(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def plain_files(root):
    safetensors(root / "dtypes.safetensors", {"a": ("F32", (2, 3)), "b": ("BF16", (4,)), "c": ("F64", ()), "d": ("U8", (0, 3)), "e": ("I64", (1, 2))},
                {"format": "pt"})
    safetensors(root / "odd.safetensors", {"a": ("U8", (1,)), "b": ("F32", (3,))})
    safetensors(root / "none.safetensors", {})


def token_set(path, libver, mask, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("tokens", data=np.arange(60, dtype=np.uint32) % 11, **options)
        file.create_dataset("offsets", data=np.array([0, 7, 7, 25, 60], dtype=np.uint64), **options)
        if mask:
            file.create_dataset("loss_mask", data=(np.arange(60) % 3 > 0).astype(np.uint8), **options)
        file["sources"] = "[]"
        file.attrs["format"] = np.bytes_("dormer.tokens/1") if mask else "dormer.tokens/1"
        file.attrs["tokenizer_sha256"] = np.bytes_("6748a5fe1b830bffee757e5030642346a3e86cbe64b1bc7bb79856e3e88f417d")
        file.attrs["vocab_size"] = np.int64(11)


def token_sets(root, tiny):
    token_set(root / "earliest.h5", "earliest", mask=False)
    token_set(root / "v110.h5", ("v110", "v110"), mask=True)
    token_set(root / "chunks.h5", "earliest", mask=True, chunks=True, compression="gzip", shuffle=True)
    token_set(root / "fletcher.h5", ("v110", "v110"), mask=False, chunks=True, fletcher32=True)
    shutil.copy(tiny / "train.h5", root / "own.h5")


def text_states(root):
    for name, dtype, libver in (("earliest", np.float32, "earliest"), ("half", np.float16, ("v110", "v110"))):
        root.mkdir(parents=True, exist_ok=True)
        with h5py.File(root / f"{name}.h5", "w", libver=libver) as file:
            file.attrs["format"] = "dormer.text_states/1"
            file.attrs["encoder"] = np.bytes_("T5")
            file.attrs["sha256"] = np.bytes_("6748a5fe1b830bffee757e5030642346a3e86cbe64b1bc7bb79856e3e88f417d")
            for index, said in enumerate(("", "a small cat", "größer")):
                states = ((np.arange(12) + index) % 7 / 8).astype(dtype).reshape(3, 4)
                file.create_dataset(f"states/{index}", data=states).attrs["text"] = said


def manifests(root, checkpoint):
    text(root / "slices" / "manifest.json", {
        "format": "dormer.checkpoint/1", "step": 40, "state": {"epoch": 1, "text": "größer", "tiny": 5e-324},
        "files": [{"name": "s.h5", "bytes": 200, "xxh3_128": "0" * 32}, {"name": "t.h5", "bytes": 300, "xxh3_128": "1" * 32}],
        "arrays": [{"name": "a", "dtype": "F32", "shape": [3, 4], "offset": offset, "count": 6, "file": file, "xxh3_128": "2" * 32}
                   for offset, file in ((6, "s.h5"), (0, "t.h5"))], "manifest_xxh3_128": ""})
    (root / "whole").mkdir(parents=True)
    shutil.copy(checkpoint / "manifest.json", root / "whole" / "manifest.json")


def configurations(root):
    text(root / "short.yaml", "run: {directory: runs/a, steps: 3}\nmodel: {path: m}\nadapter: {rank: 4}\ndata: {train: t.h5}\n")
    text(root / "long.yaml", """# everything that has a form of its own
run:        {directory: runs/manpages, name: "man pages", seed: 7, epochs: 1.5, resume: auto, device: cpu, threads: 1, time_limit: 2 h}
model:      {path: models/tiny, dtype: auto}
adapter:
  kind: lora
  rank: &rank 16
  alpha: 2*rank
  rank_stabilized: false
  decompose: {axis: auto}
  targets: [model.layers.*.self_attn.q_proj, 'model.layers.*.mlp.*']
  layers: 0-3
  overrides:
    - {match: model.layers.0.*, rank: *rank, dropout: 0.1}
data:
  train: data/train.h5
  validation: >
    data/validation.h5
  sequence_length: 256
batch:      {global: 8, micro: 2}
optimizer:  {kind: adamw, learning_rate: 5.0e-4, betas: [0.9, 0.999], max_gradient_norm: 1.0}
schedule:   {kind: cosine, warmup: 3%}
validation: {every: 1 epoch, samples: 64, keep_best: true, patience: null}
checkpoint: {every: 15 min, keep: {last: 2, best: 1}}
export:     [{for: peft, every: 20, dtype: bfloat16, name: pages}]
""")


def model_sizes(**more):
    return {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 2, "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
            "eos_token_id": [0, 1]} | more


def block(norms=(), fused=False):
    layer = "model.layers.0."
    attention = {"qkv_proj": (8, 4)} if fused else {"q_proj": (4, 4), "k_proj": (2, 4), "v_proj": (2, 4)}
    mlp = {"gate_up_proj": (12, 4)} if fused else {"gate_proj": (6, 4), "up_proj": (6, 4)}
    shapes = {f"{layer}self_attn.{name}.weight": shape for name, shape in (attention | {"o_proj": (4, 4)}).items()}
    shapes |= {f"{layer}mlp.{name}.weight": shape for name, shape in (mlp | {"down_proj": (4, 6)}).items()}
    shapes |= {f"{layer}{name}.weight": (2 if "self_attn" in name else 4,) for name in ("input_layernorm", "post_attention_layernorm", *norms)}
    return {name: ("F32", shape) for name, shape in shapes.items()}


def models(root):
    ends = {"model.embed_tokens.weight": ("BF16", (8, 4)), "model.norm.weight": ("F32", (4,))}
    llama = root / "llama"
    text(llama / "config.json", model_sizes(model_type="llama", hidden_act="silu", rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8}))
    safetensors(llama / "model-00001-of-00002.safetensors", ends)
    safetensors(llama / "model-00002-of-00002.safetensors", block())
    text(llama / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": {
        **{name: "model-00001-of-00002.safetensors" for name in ends}, **{name: "model-00002-of-00002.safetensors" for name in block()}}})
    for family, tensors, more in (
            ("qwen3", block(["self_attn.q_norm", "self_attn.k_norm"]), {"layer_types": ["full_attention"], "_name_or_path": "org/name"}),
            ("phi3", block(fused=True), {"sliding_window": None, "rope_scaling": {"type": "linear", "factor": 2.0}}),
            ("gemma2", block(["pre_feedforward_layernorm", "post_feedforward_layernorm"]),
             {"hidden_activation": "gelu_pytorch_tanh", "sliding_window": 8, "final_logit_softcapping": 30.0})):
        text(root / family / "config.json", model_sizes(model_type=family, **more))
        safetensors(root / family / "model.safetensors", ends | tensors)


def tokenizers(root):
    text(root / "bpe" / "tokenizer.json", TOKENIZER)
    text(root / "unigram" / "tokenizer.json", {"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.5]]}, "added_tokens": None})
    text(root / "pairs" / "tokenizer.json", {"model": {"vocab": {"a": 0}, "merges": [["a", "a"]]}})


def clip_tokenizers(root):
    begin, end = "<|startoftext|>", "<|endoftext|>"
    write_folder(root / "whole", ["p h", "ph o", "Ã ©</w>", "c a", "ca t", "! !</w>"])
    small = {token: index for index, token in enumerate(["l", "o", "w</w>", "lo", "low</w>", begin, end])}
    merges = ["l o", "lo w</w>"]
    text(root / "settings" / "vocab.json", small)
    text(root / "settings" / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
    text(root / "settings" / "tokenizer_config.json", {
        "bos_token": {"__type": "AddedToken", "content": begin, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False},
        "pad_token": "!", "model_max_length": 77, "additional_special_tokens": ["<toy>"]})
    text(root / "settings" / "special_tokens_map.json", {"eos_token": {"content": end, "normalized": True}, "unk_token": end})
    text(root / "settings" / "added_tokens.json", {"<toy>": 8, begin: 5})
    text(root / "listed" / "tokenizer.json", {"model": {"type": "BPE", "vocab": small, "merges": [merge.split(" ") for merge in merges]}, "added_tokens": [
        {"id": 5, "content": begin, "special": True, "normalized": False}, {"id": 7, "content": "<toy>", "special": False}]})
    text(root / "listed" / "tokenizer_config.json", {"eos_token": end, "added_tokens_decoder": {"6": {"content": end, "special": True}}})


def prompts(root):
    text(root / "all.txt", "# previews\na photo, of a café --n blurry, bad --w 512 --h 768 --d 3 --l 7.5 --s 20\r\n\n  b\n")


def low_rank(stem, down, up, out=6, columns=4, **more):
    return {f"{stem}.{down}": ("F32", (2, columns)), f"{stem}.{up}": ("F32", (out, 2)), **{f"{stem}.{name}": value for name, value in more.items()}}


def peft_folders(root):
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "org/name", "r": 2, "lora_alpha": 4, "use_dora": True,
              "target_modules": ["q_proj"], "rank_pattern": {"q_proj": 2, "layers.[0-9]+.mlp": 4}, "alpha_pattern": {"^model.layers.0.x": 8.0}}
    dora = low_rank(layer, "lora_A.weight", "lora_B.weight", lora_magnitude_vector=("F32", (6,)))
    text(root / "peft-dora" / "adapter_config.json", config)
    safetensors(root / "peft-dora" / "adapter_model.safetensors", dora, {"format": "pt"})
    text(root / "peft-beside" / "adapter_config.json", config | {"use_dora": False, "bias": "all", "modules_to_save": ["lm_head"],
                                                                 "trainable_token_indices": {"embed_tokens": [3, 5]}})
    safetensors(root / "peft-beside" / "adapter_model.safetensors", low_rank(layer, "lora_A.weight", "lora_B.weight", **{"base_layer.bias": ("F32", (6,))}) | {
        "base_model.model.lm_head.weight": ("F32", (8, 4)), "base_model.model.lm_head.bias": ("F32", (8,)),
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": ("F32", (2, 4))})
    text(root / "peft-loha" / "adapter_config.json", {"peft_type": "LOHA", "r": 2, "alpha": 2.0})
    safetensors(root / "peft-loha" / "adapter_model.safetensors",
                {f"{layer}.{name}": ("F32", shape) for name, shape in (("hada_w1_a", (6, 2)), ("hada_w1_b", (2, 4)), ("hada_w2_a", (6, 2)), ("hada_w2_b", (2, 4)))})
    text(root / "peft-lokr" / "adapter_config.json", {"peft_type": "LOKR", "r": 2, "alpha": 2.0})
    safetensors(root / "peft-lokr" / "adapter_model.safetensors",
                {f"{layer}.{name}": ("F32", shape) for name, shape in (("lokr_w1", (2, 2)), ("lokr_w2_a", (3, 2)), ("lokr_w2_b", (2, 2)))}
                | {f"{layer.replace('q_', 'k_')}.{name}": ("F32", (2, 2)) for name in ("lokr_w1", "lokr_w2")})


def adapter_files(root):
    attention = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    alpha, scale = ("F32", ()), ("F32", (6, 1))
    safetensors(root / "kohya.safetensors", low_rank(f"lora_unet_{attention}", "lora_down.weight", "lora_up.weight", alpha=alpha, dora_scale=scale)
                | low_rank("lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_down.weight", "lora_up.weight", alpha=("I64", (1,))),
                {"ss_network_args": "{\"wd_on_output\": \"True\"}", "ss_base_model_version": "sd_v1", "ss_sd_model_name": "org/name"})
    conv = "lora_unet_down_blocks_0_resnets_0_conv1"
    safetensors(root / "kohya-tucker.safetensors", {
        f"{conv}.lora_down.weight": ("F16", (2, 4, 1, 1)), f"{conv}.lora_mid.weight": ("F16", (2, 2, 3, 3)), f"{conv}.lora_up.weight": ("F16", (6, 2, 1, 1)),
        f"{conv}.alpha": ("F16", ())})
    other = attention.replace("to_q", "to_k")
    safetensors(root / "lycoris.safetensors", {f"lora_unet_{attention}.{name}": ("BF16", shape) for name, shape in (
        ("hada_w1_a", (6, 2)), ("hada_w1_b", (2, 4)), ("hada_w2_a", (6, 2)), ("hada_w2_b", (2, 4)), ("alpha", ()))}
        | {f"lora_unet_{other}.{name}": ("F32", shape) for name, shape in (("lokr_w1", (2, 2)), ("lokr_w2_a", (3, 2)), ("lokr_w2_b", (2, 2)), ("alpha", ()))}
        | {f"lora_unet_{attention.replace('to_q', 'to_v')}.diff": ("F32", (6, 4))})
    safetensors(root / "comfyui.safetensors", low_rank("diffusion_model.double_blocks.0.img_attn.proj", "lora_down.weight", "lora_up.weight", alpha=alpha))
    path = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    safetensors(root / "diffusers.safetensors", low_rank(path, "lora_A.weight", "lora_B.weight", lora_magnitude_vector=("F32", (6,))),
                {"format": "pt", "lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 2, "unet.use_dora": True, "unet.peft_type": "LORA"})})
    safetensors(root / "onetrainer.safetensors", low_rank(path, "lora_down.weight", "lora_up.weight", alpha=alpha, dora_scale=("F32", (1, 4))))
    safetensors(root / "ai-toolkit.safetensors", low_rank("transformer.single_transformer_blocks.0.proj_mlp", "lora_A.weight", "lora_B.weight",
                                                          magnitude=("F32", (6,))))
    tune = root / "torchtune"
    safetensors(tune / "adapter.safetensors", low_rank("layers.0.attn.q_proj", "lora_a.weight", "lora_b.weight", out=8, magnitude=("F32", (8,))))
    text(tune / "adapter_config.json", {"r": 2, "lora_alpha": 4, "peft_type": "LORA"})
    text(tune / "config.json", {"num_attention_heads": 2, "num_key_value_heads": 1})


def tiny_run(folder):
    """A run of the program; returns its last checkpoint."""
    subprocess.run([Path(os.environ["DORMER_BUILD"]) / "tests" / "make_tiny_run", folder, "200"], check=True)
    (folder / "run.yaml").write_text(CHECKPOINT_RUN)
    subprocess.run([os.environ["DORMER_PROGRAM"], "train", "run.yaml"], cwd=folder, check=True, capture_output=True)
    return max((folder / "run" / "checkpoints").glob("step-*"))


def images(root):
    root.mkdir(parents=True)
    y, x = np.mgrid[0:9, 0:13]
    picture = Image.fromarray(np.stack([x * 19, y * 28, (x * y) * 2], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(root / "turned.jpg", exif=exif)
    picture.save(root / "plain.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    picture.quantize(5).save(root / "palette.png", transparency=2)
    picture.save(root / "frames.gif", save_all=True, append_images=[picture.rotate(180)])
    picture.save(root / "plain.webp", lossless=True)
    picture.save(root / "plain.tif", compression="tiff_lzw")


def sweeps(root):
    run = "run: {directory: runs/a, steps: 30}\nmodel: {path: m}\ndata: {train: t.h5, validation: v.h5}\n"
    text(root / "every_form.yaml", run + """sweep:
  method: tpe
  trials: 8
  stopping: {kind: halving, minimum_steps: 4, factor: 2}
  budget: 40 gpu-hours
  space:
    optimizer.learning_rate: {log: [1.0e-5, 1.0e-3], steps: 3}
    adapter.kind: [lora, lokr]
    adapter.factor: {choice: [4, 8], when: {adapter.kind: lokr}}
    adapter.rank: {int: [4, 16], step: 4}
    adapter.alpha: 2*adapter.rank
    adapter.dropout: {uniform: [0, 0.2], step: 0.1}
    adapter.decompose: [null, {axis: output}]
    zip: [{batch.global: [8, 16], batch.micro: [2, 4]}]
""")
    text(root / "wandb.yaml", run + """sweep:
  method: bayes
  metric: {name: loss, goal: minimize}
  run_cap: 4
  early_terminate: {type: hyperband, min_iter: 3}
  parameters:
    adapter.rank: {values: [8, 16]}
    optimizer: {parameters: {learning_rate: {distribution: log_uniform, min: -12, max: -6}}}
    adapter.dropout: {distribution: q_uniform, min: 0, max: 0.3, q: 0.1}
""")


def foreign_configurations(root):
    text(root / "onetrainer.json", {"__version": 6, "training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE", "base_model_name":
                                    "models/sdxl", "workspace_dir": "runs/red", "cache_dir": "cache/red", "tensorboard": True, "peft_type": "LORA", "lora_rank":
                                    32, "lora_alpha": 1.0, "lora_decompose": True, "lora_decompose_norm_epsilon": True, "lora_decompose_output_axis": False,
                                    "dropout_probability": 0.1, "layer_filter_preset": "attn-mlp", "layer_filter": "attentions", "resolution": "768,1024",
                                    "aspect_ratio_bucketing": True, "epochs": 12, "batch_size": 4, "gradient_accumulation_steps": 2, "multi_gpu": True,
                                    "device_indexes": "0,1,2", "learning_rate": 0.0003, "learning_rate_scaler": "BATCH", "unet": {"train": True,
                                    "learning_rate": None}, "learning_rate_scheduler": "COSINE_WITH_RESTARTS", "learning_rate_cycles": 3,
                                    "learning_rate_warmup_steps": 0.05, "optimizer": {"optimizer": "ADAMW_8BIT", "beta1": 0.9, "beta2": 0.99, "weight_decay":
                                    0.02, "fused_back_pass": True}, "clip_grad_norm": 0.5, "loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": 7.0,
                                    "mse_strength": 0.5, "huber_strength": 0.5, "timestep_distribution": "LOGIT_NORMAL", "noising_bias": -0.5, "noising_weight":
                                    0.25, "offset_noise_weight": 0.03, "rescale_noise_scheduler_to_zero_terminal_snr": True, "force_v_prediction": True,
                                    "train_dtype": "BFLOAT_16", "output_dtype": "FLOAT_16", "output_model_destination": "models/red.safetensors",
                                    "output_model_format": "KOHYA_LORA", "validation": True, "validate_after": 2, "validate_after_unit": "EPOCH",
                                    "backup_after": 10, "backup_after_unit": "MINUTE", "rolling_backup": True, "rolling_backup_count": 5, "save_every": 250,
                                    "save_every_unit": "STEP", "ema": "CPU", "ema_decay": 0.99, "text_encoder": {"train": True}, "masked_training": True,
                                    "unmasked_weight": 0.2, "text_encoder_layer_skip": 1, "future_setting": 3, "sample_after": 10, "samples": [{"prompt":
                                    "a cat"}], "concepts": [{"name": "red", "path": "data/red", "balancing": 3.0, "include_subdirectories": True, "image":
                                    {"enable_crop_jitter": True, "enable_random_flip": False, "enable_random_hue": True}, "text": {"enable_tag_shuffling": True,
                                    "keep_tags_count": 2, "tag_dropout_enable": True, "tag_dropout_mode": "RANDOM", "tag_dropout_probability": 0.15}}, {"path":
                                    "data/off", "enabled": False}, {"path": "data/held out", "type": "VALIDATION", "image": {"enable_crop_jitter": False,
                                    "enable_random_flip": False}, "text": {"prompt_source": "filename"}}, {"path": "data/people", "balancing": 40,
                                    "balancing_strategy": "SAMPLES", "loss_weight": 0.5}, {"path": "data/before", "type": "PRIOR_PREDICTION"}]})
    text(root / "kohya" / "config.toml", """[model]
pretrained_model_name_or_path = "models/sd15"
v2 = false
[network]
network_module = "lycoris.kohya"
network_dim = 8
network_alpha = 4
network_args = ["algo=lokr", "factor=6", "dora_wd=True", "wd_on_output=False", "module_dropout=0.1", "bypass_mode=True"]
network_train_unet_only = true
[optimizer]
optimizer_type = "AdamW8bit"
optimizer_args = ["weight_decay=0.05", "betas=(0.9, 0.95)"]
learning_rate = 1e-4
unet_lr = 3e-4
lr_scheduler = "cosine"
lr_warmup_steps = 0.1
[data]
dataset_config = "data.toml"
caption_dropout_rate = 0.05
prior_loss_weight = 0.5
max_token_length = 225
clip_skip = 2
[run]
output_dir = "runs"
output_name = "teapot"
max_train_epochs = 10
gradient_accumulation_steps = 2
seed = 42
mixed_precision = "bf16"
save_precision = "fp16"
save_every_n_epochs = 1
min_snr_gamma = 5
noise_offset = 0.05
sample_every_n_epochs = 1
xformers = true
""")
    text(root / "kohya" / "data.toml", """[general]
enable_bucket = true
shuffle_caption = true
keep_tokens = 1
[[datasets]]
resolution = [512, 768]
batch_size = 3
  [[datasets.subsets]]
  image_dir = "data/teapot"
  num_repeats = 5
  flip_aug = true
  [[datasets.subsets]]
  image_dir = "data/pots"
  is_reg = true
""")
    text(root / "axolotl.yml", """base_model: HuggingFaceTB/SmolLM2-135M
adapter: lora
lora_r: 32
lora_alpha: 64
lora_dropout: 0.05
lora_target_linear: true
peft_use_dora: true
sequence_len: 2048
sample_packing: true
datasets:
  - path: tatsu-lab/alpaca
    type: alpaca
val_set_size: 0.02
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 3
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 2e-4
warmup_ratio: 0.05
weight_decay: 0.1
bf16: auto
gradient_checkpointing: true
evals_per_epoch: 4
saves_per_epoch: 1
output_dir: ./outputs/dora
wandb_project: mine
flash_attention: true
deepspeed: zero2.json
""")
    text(root / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "models/base", "r": 4, "lora_alpha": 12, "lora_dropout": 0.0,
                                        "use_dora": True, "use_rslora": True, "bias": "lora_only", "target_modules": ["q_proj", "down_proj"], "rank_pattern":
                                        {"q_proj": 8}, "alpha_pattern": {"q_proj": 16}, "layers_to_transform": [0, 3], "init_lora_weights": "pissa_niter_8",
                                        "task_type": "CAUSAL_LM", "inference_mode": True, "fan_in_fan_out": False})


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("corpus")
    shutil.rmtree(root, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tiny_run(Path(folder))
        plain_files(root / "safetensors")
        token_sets(root / "token_sets", Path(folder))
        text_states(root / "text_states")
        manifests(root / "manifests", checkpoint)
        shutil.copytree(checkpoint, root / "checkpoints" / "tiny")
        configurations(root / "configurations")
        sweeps(root / "sweeps")
        foreign_configurations(root / "foreign_configurations")
        models(root / "models")
        tokenizers(root / "tokenizers")
        clip_tokenizers(root / "clip_tokenizers")
        prompts(root / "prompts")
        peft_folders(root / "adapters")
        adapter_files(root / "adapters")
        images(root / "images")


if __name__ == "__main__":
    main()
