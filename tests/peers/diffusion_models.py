"""Small seeded diffusion models that keep every structural feature of the real ones: several levels, with and without attention, both kinds of
projections, a text of the right width. Weights are large enough that every part shows in the result."""

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

SHARED = {"layers_per_block": 2, "norm_num_groups": 8, "sample_size": 16}
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"

UNETS = {
    "sd1": {**SHARED, "block_out_channels": [32, 64, 64, 64], "attention_head_dim": 4, "cross_attention_dim": 24,
            "down_block_types": [CROSS, CROSS, CROSS, PLAIN], "up_block_types": [PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP]},
    "sd2": {**SHARED, "block_out_channels": [32, 48, 64], "attention_head_dim": [2, 3, 4], "cross_attention_dim": 20, "use_linear_projection": True,
            "down_block_types": [CROSS, CROSS, PLAIN], "up_block_types": [PLAIN_UP, CROSS_UP, CROSS_UP]},
    "sdxl": {**SHARED, "block_out_channels": [32, 64, 96], "attention_head_dim": [1, 2, 3], "cross_attention_dim": 40, "use_linear_projection": True,
             "transformer_layers_per_block": [1, 2, 3], "down_block_types": [PLAIN, CROSS, CROSS], "up_block_types": [CROSS_UP, CROSS_UP, PLAIN_UP],
             "addition_embed_type": "text_time", "addition_time_embed_dim": 16, "projection_class_embeddings_input_dim": 24 + 6 * 16},
    "shallow": {**SHARED, "layers_per_block": [1, 2], "block_out_channels": [16, 40], "attention_head_dim": [2, 5], "cross_attention_dim": [12, 12],
                "down_block_types": [CROSS, CROSS], "up_block_types": [CROSS_UP, CROSS_UP], "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 9,
                "norm_eps": 1e-4, "norm_num_groups": 4},
}

# Stable Diffusion 3 (without norms of the heads) and 3.5 (with them, and second attentions in the first blocks).
TRANSFORMERS = {
    "sd3": {"sample_size": 16, "patch_size": 2, "in_channels": 16, "num_layers": 3, "attention_head_dim": 8, "num_attention_heads": 4,
            "joint_attention_dim": 40, "caption_projection_dim": 32, "pooled_projection_dim": 24, "out_channels": 16, "pos_embed_max_size": 12},
    "sd35": {"sample_size": 16, "patch_size": 2, "in_channels": 16, "num_layers": 4, "attention_head_dim": 12, "num_attention_heads": 3,
             "joint_attention_dim": 48, "caption_projection_dim": 36, "pooled_projection_dim": 40, "out_channels": 16, "pos_embed_max_size": 16,
             "dual_attention_layers": [0, 1, 2], "qk_norm": "rms_norm"},
}

AUTOENCODERS = {
    "sd": {"block_out_channels": [16, 32, 32, 64], "layers_per_block": 2, "norm_num_groups": 8, "latent_channels": 4},
    "sd3": {"block_out_channels": [16, 24, 40], "layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 16, "use_quant_conv": False,
            "use_post_quant_conv": False, "scaling_factor": 1.5305, "shift_factor": 0.0609},
}

TEXT = {"vocab_size": 300, "max_position_embeddings": 77, "bos_token_id": 298, "eos_token_id": 299, "pad_token_id": 299}
TEXT_ENCODERS = {
    "sd1": [{**TEXT, "hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_act": "quick_gelu"}],
    "sd2": [{**TEXT, "hidden_size": 20, "intermediate_size": 80, "num_hidden_layers": 4, "num_attention_heads": 2, "hidden_act": "gelu"}],
    "sdxl": [{**TEXT, "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "hidden_act": "quick_gelu"},
             {**TEXT, "hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "hidden_act": "gelu",
              "projection_dim": 24, "pad_token_id": 0}],
}

TEXT_ENCODERS["sd35"] = [{**sizes, "projection_dim": sizes["hidden_size"]} for sizes in TEXT_ENCODERS["sdxl"]]  # both project

DOWN = ["DownEncoderBlock2D"]
UP = ["UpDecoderBlock2D"]


def roughen(model, seed):
    """Norms, biases and weights away from their start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif "embedding" not in name:
                parameter.mul_(1.0 + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def make_unet(name, folder, seed=3):
    torch.manual_seed(seed)
    model = roughen(UNet2DConditionModel(**UNETS[name]), seed)
    model.save_pretrained(folder / "unet")
    return model


def make_transformer(name, folder, seed=3):
    torch.manual_seed(seed)
    model = roughen(SD3Transformer2DModel(**TRANSFORMERS[name]), seed)
    model.save_pretrained(folder / "transformer")
    return model


def make_autoencoder(name, folder, seed=5):
    torch.manual_seed(seed)
    sizes = AUTOENCODERS[name]
    levels = len(sizes["block_out_channels"])
    model = roughen(AutoencoderKL(**sizes, down_block_types=DOWN * levels, up_block_types=UP * levels), seed)
    model.save_pretrained(folder / "vae")
    return model


def make_text_encoders(name, folder, seed=7):
    torch.manual_seed(seed)
    models = []
    for index, sizes in enumerate(TEXT_ENCODERS[name]):
        kind = CLIPTextModelWithProjection if "projection_dim" in sizes else CLIPTextModel
        model = roughen(kind(CLIPTextConfig(**sizes)), seed + index)
        model.save_pretrained(folder / ("text_encoder" if index == 0 else f"text_encoder_{index + 1}"))
        models.append(model)
    return models
