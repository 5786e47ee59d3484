"""A small diffusion model as a whole folder, and a few pictures with captions: what a run of images needs."""

import json

import numpy as np
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

import diffusion_models


def bytes_as_letters():
    """The printable stand-ins of bytes in byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(others))]


def make_tokenizer(folder, pad):
    """Letters alone: no merges."""
    letters = bytes_as_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad,
         "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}))
    return len(words)


def make_pipeline(name, folder, prediction="epsilon"):
    """Stable Diffusion 1, XL or 3.5 in small, with everything that its folder has (3.5 without T5)."""
    vocabulary = 514
    for sizes in diffusion_models.TEXT_ENCODERS[name]:
        sizes.update(vocab_size=vocabulary, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1)
    flow = name in diffusion_models.TRANSFORMERS
    denoiser = diffusion_models.make_transformer(name, folder) if flow else diffusion_models.make_unet(name, folder)
    vae = diffusion_models.make_autoencoder("sd3" if flow else "sd", folder)
    texts = diffusion_models.make_text_encoders(name, folder)
    for index in range(len(texts)):
        make_tokenizer(folder / ("tokenizer" if index == 0 else f"tokenizer_{index + 1}"), "!" if index else "<|endoftext|>")
    scheduler = (FlowMatchEulerDiscreteScheduler(shift=3.0) if flow
                 else DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=prediction))
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return denoiser, vae, texts


def make_pictures(folder, count, seed, sizes=((96, 64), (64, 96), (70, 70))):
    """Smooth pictures of several aspects, each with a caption."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        width, height = sizes[index % len(sizes)]
        coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.BICUBIC).save(folder / f"picture{index:02}.png")
        (folder / f"picture{index:02}.txt").write_text(f"a picture of thing {index}, with colours\n")
    return folder
