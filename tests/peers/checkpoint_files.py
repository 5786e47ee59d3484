"""Small random checkpoints in one file, under the names of CompVis, Stability and OpenCLIP: what the WebUIs call a model."""

import torch

GROUPS = 32
VOCABULARY = 514
FAMILIES = {
    "sd1": {"channels": [32, 64, 64, 64], "attends": [True, True, True, False], "depths": [1, 1, 1], "middle": 1, "context": 64, "linear": False},
    "sd2": {"channels": [64, 128, 128], "attends": [True, True, False], "depths": [1, 1], "middle": 1, "context": 64, "linear": True},
    "sdxl": {"channels": [64, 128, 128], "attends": [False, True, True], "depths": [0, 1, 2], "middle": 2, "context": 192, "linear": True, "pooled": 128},
}


class Arrays(dict):
    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def matrix(self, name, *shape, bias=True, end=".weight"):
        inner = 1
        for size in shape[1:]:
            inner *= size
        self[name + end] = torch.randn(shape, generator=self.generator) / inner ** 0.5
        if bias:
            self[name + ".bias"] = 0.1 * torch.randn(shape[0], generator=self.generator)

    def norm(self, name, size):
        self[name + ".weight"] = 1 + 0.2 * torch.randn(size, generator=self.generator)
        self[name + ".bias"] = 0.2 * torch.randn(size, generator=self.generator)


def unet_resnet(arrays, name, inner, outer, time):
    arrays.norm(name + "in_layers.0", inner)
    arrays.matrix(name + "in_layers.2", outer, inner, 3, 3)
    arrays.matrix(name + "emb_layers.1", outer, time)
    arrays.norm(name + "out_layers.0", outer)
    arrays.matrix(name + "out_layers.3", outer, outer, 3, 3)
    if inner != outer:
        arrays.matrix(name + "skip_connection", outer, inner, 1, 1)


def unet_attention(arrays, name, channels, depth, context, linear):
    arrays.norm(name + "norm", channels)
    for side in ("proj_in", "proj_out"):
        arrays.matrix(name + side, channels, channels, *([] if linear else [1, 1]))
    for index in range(depth):
        block = f"{name}transformer_blocks.{index}."
        for number, width in ((1, channels), (2, context)):
            arrays.norm(f"{block}norm{number}", channels)
            attention = f"{block}attn{number}."
            arrays.matrix(attention + "to_q", channels, channels, bias=False)
            arrays.matrix(attention + "to_k", channels, width, bias=False)
            arrays.matrix(attention + "to_v", channels, width, bias=False)
            arrays.matrix(attention + "to_out.0", channels, channels)
        arrays.norm(block + "norm3", channels)
        arrays.matrix(block + "ff.net.0.proj", 8 * channels, channels)
        arrays.matrix(block + "ff.net.2", channels, 4 * channels)


def add_unet(arrays, sizes, layers=2):
    begin, channels = "model.diffusion_model.", sizes["channels"]
    time = 4 * channels[0]
    attention = {"context": sizes["context"], "linear": sizes["linear"]}
    arrays.matrix(begin + "time_embed.0", time, channels[0])
    arrays.matrix(begin + "time_embed.2", time, time)
    if "pooled" in sizes:
        arrays.matrix(begin + "label_emb.0.0", time, sizes["pooled"] + 6 * 256)
        arrays.matrix(begin + "label_emb.0.2", time, time)
    arrays.matrix(begin + "input_blocks.0.0", channels[0], 4, 3, 3)
    number, width, skipped = 1, channels[0], [channels[0]]
    for level, size in enumerate(channels):
        for _ in range(layers):
            unet_resnet(arrays, f"{begin}input_blocks.{number}.0.", width, size, time)
            if sizes["attends"][level]:
                unet_attention(arrays, f"{begin}input_blocks.{number}.1.", size, sizes["depths"][level], **attention)
            width = size
            skipped.append(width)
            number += 1
        if level + 1 < len(channels):
            arrays.matrix(f"{begin}input_blocks.{number}.0.op", width, width, 3, 3)
            skipped.append(width)
            number += 1
    unet_resnet(arrays, begin + "middle_block.0.", width, width, time)
    unet_attention(arrays, begin + "middle_block.1.", width, sizes["middle"], **attention)
    unet_resnet(arrays, begin + "middle_block.2.", width, width, time)
    number = 0
    for level, size in reversed(list(enumerate(channels))):
        for layer in range(layers + 1):
            unet_resnet(arrays, f"{begin}output_blocks.{number}.0.", width + skipped.pop(), size, time)
            width, place = size, 1
            if sizes["attends"][level]:
                unet_attention(arrays, f"{begin}output_blocks.{number}.1.", size, sizes["depths"][level], **attention)
                place = 2
            if level > 0 and layer == layers:
                arrays.matrix(f"{begin}output_blocks.{number}.{place}.conv", size, size, 3, 3)
            number += 1
    arrays.norm(begin + "out.0", width)
    arrays.matrix(begin + "out.2", 4, width, 3, 3)


def vae_resnet(arrays, name, inner, outer):
    arrays.norm(name + "norm1", inner)
    arrays.matrix(name + "conv1", outer, inner, 3, 3)
    arrays.norm(name + "norm2", outer)
    arrays.matrix(name + "conv2", outer, outer, 3, 3)
    if inner != outer:
        arrays.matrix(name + "nin_shortcut", outer, inner, 1, 1)


def vae_middle(arrays, name, size):
    vae_resnet(arrays, name + "block_1.", size, size)
    arrays.norm(name + "attn_1.norm", size)
    for part in ("q", "k", "v", "proj_out"):
        arrays.matrix(f"{name}attn_1.{part}", size, size, 1, 1)
    vae_resnet(arrays, name + "block_2.", size, size)


def add_autoencoder(arrays, channels=(32, 64, 64), layers=2, latents=4):
    """With 16 latent channels it is that of Stable Diffusion 3, without convolutions around the latents."""
    begin = "first_stage_model."
    arrays.matrix(begin + "encoder.conv_in", channels[0], 3, 3, 3)
    width = channels[0]
    for level, size in enumerate(channels):
        for layer in range(layers):
            vae_resnet(arrays, f"{begin}encoder.down.{level}.block.{layer}.", width, size)
            width = size
        if level + 1 < len(channels):
            arrays.matrix(f"{begin}encoder.down.{level}.downsample.conv", width, width, 3, 3)
    vae_middle(arrays, begin + "encoder.mid.", width)
    arrays.norm(begin + "encoder.norm_out", width)
    arrays.matrix(begin + "encoder.conv_out", 2 * latents, width, 3, 3)
    if latents == 4:
        arrays.matrix(begin + "quant_conv", 8, 8, 1, 1)
        arrays.matrix(begin + "post_quant_conv", 4, 4, 1, 1)
    arrays.matrix(begin + "decoder.conv_in", width, latents, 3, 3)
    vae_middle(arrays, begin + "decoder.mid.", width)
    for level, size in reversed(list(enumerate(channels))):
        for layer in range(layers + 1):
            vae_resnet(arrays, f"{begin}decoder.up.{level}.block.{layer}.", width, size)
            width = size
        if level > 0:
            arrays.matrix(f"{begin}decoder.up.{level}.upsample.conv", width, width, 3, 3)
    arrays.norm(begin + "decoder.norm_out", width)
    arrays.matrix(begin + "decoder.conv_out", 3, width, 3, 3)


def add_clip(arrays, begin, width, layers):
    begin += "text_model."
    arrays.matrix(begin + "embeddings.token_embedding", VOCABULARY, width, bias=False)
    arrays.matrix(begin + "embeddings.position_embedding", 77, width, bias=False)
    arrays[begin + "embeddings.position_ids"] = torch.arange(77)[None]
    for layer in range(layers):
        name = f"{begin}encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            arrays.matrix(f"{name}self_attn.{part}", width, width)
        arrays.norm(name + "layer_norm1", width)
        arrays.norm(name + "layer_norm2", width)
        arrays.matrix(name + "mlp.fc1", 4 * width, width)
        arrays.matrix(name + "mlp.fc2", width, 4 * width)
    arrays.norm(begin + "final_layer_norm", width)


def add_open_clip(arrays, begin, width, layers):
    arrays.matrix(begin + "token_embedding", VOCABULARY, width, bias=False)
    arrays.matrix(begin + "positional_embedding", 77, width, bias=False, end="")
    for layer in range(layers):
        name = f"{begin}transformer.resblocks.{layer}."
        arrays.norm(name + "ln_1", width)
        arrays.norm(name + "ln_2", width)
        arrays.matrix(name + "attn.in_proj", 3 * width, width, bias=False, end="_weight")
        arrays[name + "attn.in_proj_bias"] = 0.1 * torch.randn(3 * width, generator=arrays.generator)
        arrays.matrix(name + "attn.out_proj", width, width)
        arrays.matrix(name + "mlp.c_fc", 4 * width, width)
        arrays.matrix(name + "mlp.c_proj", width, 4 * width)
    arrays.norm(begin + "ln_final", width)
    arrays.matrix(begin + "text_projection", width, width, bias=False, end="")
    arrays[begin + "logit_scale"] = torch.tensor(4.6)


JOINT = {"width": 128, "heads": 2, "blocks": 3, "dual": [0, 1], "text": 256, "pooled": 192, "positions": 16}


def attention(arrays, name, width, projects=True):
    arrays.matrix(name + "qkv", 3 * width, width)
    for norm in ("ln_q", "ln_k"):
        arrays[f"{name}{norm}.weight"] = 1 + 0.2 * torch.randn(width // JOINT["heads"], generator=arrays.generator)
    if projects:
        arrays.matrix(name + "proj", width, width)


def add_joint_transformer(arrays):
    """Stable Diffusion 3.5's, under the names of Stability's sd3.5."""
    begin, width = "model.diffusion_model.", JOINT["width"]
    arrays[begin + "pos_embed"] = torch.randn(1, JOINT["positions"] ** 2, width, generator=arrays.generator)
    arrays.matrix(begin + "x_embedder.proj", width, 16, 2, 2)
    for name, inner in (("t_embedder", 256), ("y_embedder", JOINT["pooled"])):
        arrays.matrix(f"{begin}{name}.mlp.0", width, inner)
        arrays.matrix(f"{begin}{name}.mlp.2", width, width)
    arrays.matrix(begin + "context_embedder", width, JOINT["text"])
    for block in range(JOINT["blocks"]):
        last, dual = block + 1 == JOINT["blocks"], block in JOINT["dual"]
        for side, parts in (("x_block.", 9 if dual else 6), ("context_block.", 2 if last else 6)):
            name = f"{begin}joint_blocks.{block}.{side}"
            goes_on = side == "x_block." or not last
            attention(arrays, name + "attn.", width, goes_on)
            if dual and side == "x_block.":
                attention(arrays, name + "attn2.", width)
            arrays.matrix(name + "adaLN_modulation.1", parts * width, width)
            if goes_on:
                arrays.matrix(name + "mlp.fc1", 4 * width, width)
                arrays.matrix(name + "mlp.fc2", width, 4 * width)
    arrays.matrix(begin + "final_layer.adaLN_modulation.1", 2 * width, width)
    arrays.matrix(begin + "final_layer.linear", 2 * 2 * 16, width)


def third_checkpoint(seed=1):
    """Stable Diffusion 3.5 with both CLIPs; a stray array as the released files have them."""
    arrays = Arrays(seed)
    add_joint_transformer(arrays)
    add_autoencoder(arrays, latents=16)
    add_clip(arrays, "text_encoders.clip_l.transformer.", 64, 3)
    add_clip(arrays, "text_encoders.clip_g.transformer.", 128, 4)
    arrays.matrix("text_encoders.clip_g.transformer.text_projection", 128, 128, bias=False)
    arrays["text_encoders.clip_l.logit_scale"] = torch.tensor(4.6)
    return arrays


def checkpoint(family, seed=1):
    if family == "sd3":
        return third_checkpoint(seed)
    arrays = Arrays(seed)
    add_unet(arrays, FAMILIES[family])
    add_autoencoder(arrays)
    if family == "sd1":
        add_clip(arrays, "cond_stage_model.transformer.", 64, 3)
    elif family == "sd2":
        add_open_clip(arrays, "cond_stage_model.model.", 64, 4)
    else:
        add_clip(arrays, "conditioner.embedders.0.transformer.", 64, 3)
        add_open_clip(arrays, "conditioner.embedders.1.model.", 128, 4)
    arrays["alphas_cumprod"] = torch.linspace(0.99, 0.01, 1000)  # which is nobody's weight
    return arrays
