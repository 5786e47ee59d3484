"""Seeded random models of every family, token data sets and PEFT adapters: the same function for our program and for its peers.

Weights are large and norms are off one on purpose: with the usual small weights attention is nearly uniform, every block is nearly
the identity, and a wrong rotary embedding or a wrong head would hide behind tolerances."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 32}


@dataclass(frozen=True)
class ModelCase:
    """One architecture. `spelling` 4 writes rope_theta and rope_scaling, 5 writes rope_parameters."""

    name: str
    sizes: dict
    rope: dict = field(default_factory=lambda: {"rope_type": "default", "rope_theta": 10_000.0})
    spelling: int = 5
    shard_size: str = "10GB"
    seed: int = 1
    model_type: str = "llama"


MODEL_CASES = [
    ModelCase("tied_head", dict(hidden_size=64, intermediate_size=128, vocab_size=256, num_hidden_layers=2, num_attention_heads=4,
                                num_key_value_heads=4, tie_word_embeddings=True)),
    ModelCase("odd_sizes_in_shards", dict(hidden_size=72, intermediate_size=200, vocab_size=331, num_hidden_layers=3,
                                          num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=False),
              rope={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.5}, shard_size="200KB", seed=2),
    ModelCase("explicit_head_size", dict(hidden_size=48, intermediate_size=112, vocab_size=197, num_hidden_layers=2,
                                         num_attention_heads=4, num_key_value_heads=1, head_dim=20, tie_word_embeddings=True),
              rope=LLAMA3_ROPE, seed=3),
    ModelCase("linear_rope_of_transformers_4", dict(hidden_size=64, intermediate_size=96, vocab_size=300, num_hidden_layers=2,
                                                    num_attention_heads=8, num_key_value_heads=4, tie_word_embeddings=False),
              rope={"rope_type": "linear", "rope_theta": 5_000.0, "factor": 4.0}, spelling=4, seed=4),
    ModelCase("llama3_rope_of_transformers_4", dict(hidden_size=80, intermediate_size=136, vocab_size=222, num_hidden_layers=2,
                                                    num_attention_heads=5, num_key_value_heads=5, tie_word_embeddings=True),
              rope=LLAMA3_ROPE, spelling=4, seed=5),
    ModelCase("mistral_with_a_window", dict(hidden_size=56, intermediate_size=120, vocab_size=211, num_hidden_layers=2, num_attention_heads=6,
                                            num_key_value_heads=2, head_dim=14, sliding_window=11, tie_word_embeddings=False),
              seed=6, model_type="mistral"),
    ModelCase("qwen2", dict(hidden_size=72, intermediate_size=88, vocab_size=241, num_hidden_layers=3, num_attention_heads=6,
                            num_key_value_heads=3, tie_word_embeddings=True, use_sliding_window=True, sliding_window=9,
                            max_window_layers=2), seed=7, model_type="qwen2"),
    ModelCase("qwen3", dict(hidden_size=60, intermediate_size=104, vocab_size=173, num_hidden_layers=2, num_attention_heads=5,
                            num_key_value_heads=1, head_dim=18, tie_word_embeddings=False), seed=8, model_type="qwen3"),
    ModelCase("gemma2", dict(hidden_size=52, intermediate_size=90, vocab_size=199, num_hidden_layers=3, num_attention_heads=4,
                             num_key_value_heads=2, head_dim=22, query_pre_attn_scalar=31, sliding_window=13,
                             attn_logit_softcapping=4.0, final_logit_softcapping=5.0), seed=9, model_type="gemma2"),
    ModelCase("gemma3", dict(hidden_size=45, intermediate_size=70, vocab_size=151, num_hidden_layers=3, num_attention_heads=3,
                             num_key_value_heads=1, head_dim=20, query_pre_attn_scalar=25, sliding_window=10,
                             layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
              rope={"sliding_attention": {"rope_type": "default", "rope_theta": 800.0},
                    "full_attention": {"rope_type": "linear", "rope_theta": 9_000.0, "factor": 2.0}}, seed=10, model_type="gemma3_text"),
    ModelCase("phi3", dict(hidden_size=72, intermediate_size=92, vocab_size=227, num_hidden_layers=2, num_attention_heads=4,
                           num_key_value_heads=2, tie_word_embeddings=False), seed=11, model_type="phi3"),
]


@dataclass(frozen=True)
class AdapterCase:
    name: str
    decompose: bool
    rank: int = 5
    alpha: float = 7.0
    targets: str | tuple[str, ...] = "all-linear"
    rank_stabilized: bool = False
    overrides: tuple[dict, ...] = ()  # match, rank and alpha
    bias: str = "none"  # of PEFT
    whole: tuple[str, ...] = ()  # patterns of layers that train themselves: modules_to_save


ADAPTER_CASES = [AdapterCase("lora", False), AdapterCase("dora", True),
                 AdapterCase("dora_on_attention", True, rank=16, alpha=16.0, targets=("q_proj", "v_proj")),
                 AdapterCase("dora_with_overrides", True, rank=8, alpha=12.0, rank_stabilized=True,
                             overrides=({"match": "down_proj", "rank": 3, "alpha": 5.0}, {"match": "layers.1.self_attn.k_proj", "rank": 6, "alpha": 12.0})),
                 AdapterCase("dora_beside_whole_layers", True, whole=("down_proj", "layers.1.self_attn.k_proj"))]


def make_model(case: ModelCase, folder: Path) -> Path:
    """Writes a Hugging Face folder with random fp32 weights and returns it."""
    torch.manual_seed(case.seed)
    config = AutoConfig.for_model(case.model_type, **case.sizes, max_position_embeddings=128, rms_norm_eps=1e-5, initializer_range=0.02, rope_parameters=dict(case.rope),
                         bos_token_id=1, eos_token_id=2, pad_token_id=None)
    model = AutoModelForCausalLM.from_config(config).to(torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                middle = 0.0 if name.endswith("bias") or case.model_type.startswith("gemma") else 1.0
                parameter.copy_(middle + 0.4 * torch.randn_like(parameter))
            elif "embed" in name or "lm_head" in name:
                parameter.copy_(0.25 * torch.randn_like(parameter))
            else:
                parameter.copy_(1.6 / parameter.shape[1] ** 0.5 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size=case.shard_size)
    if case.spelling == 4:
        path = folder / "config.json"
        text = json.loads(path.read_text())
        rope = text.pop("rope_parameters")
        text["rope_theta"] = rope.pop("rope_theta")
        text["rope_scaling"] = rope
        text["torch_dtype"] = text.pop("dtype", "float32")
        text["transformers_version"] = "4.49.0"
        path.write_text(json.dumps(text, indent=2))
    return folder


def load_model(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def add_adapter(model, case: AdapterCase, seed: int):
    """A PEFT adapter in mid-training: B is not zero, magnitudes are off the norms."""
    targets = case.targets if isinstance(case.targets, str) else list(case.targets)
    adapted = get_peft_model(model, LoraConfig(r=case.rank, lora_alpha=case.alpha, use_dora=case.decompose, target_modules=targets,
                                               lora_dropout=0.0, modules_to_save=list(case.whole) or None, bias=case.bias, task_type="CAUSAL_LM", use_rslora=case.rank_stabilized,
                                               rank_pattern={line["match"]: line["rank"] for line in case.overrides},
                                               alpha_pattern={line["match"]: line["alpha"] for line in case.overrides}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "lora_embedding_A" in name:
                parameter.copy_(0.5 * noise)
            elif "lora_B" in name or "lora_embedding_B" in name:
                parameter.copy_(0.3 / case.rank**0.5 * noise)
            elif "lora_A" in name:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            elif "modules_to_save" in name:
                parameter.add_(0.3 * noise * parameter.std())
            elif "magnitude" in name:
                parameter.mul_(1.0 + 0.3 * noise)
            elif name.endswith("bias") and parameter.requires_grad:
                parameter.add_(0.3 * noise)
    return adapted


def make_tokens(path: Path, documents: int, vocabulary: int, seed: int) -> Path:
    """A data set of learnable tokens: a noisy walk, so that losses fall while training."""
    random = np.random.default_rng(seed)
    pieces = []
    for _ in range(documents):
        steps = random.choice([1, 3, 7], size=int(random.integers(20, 90)), p=[0.6, 0.3, 0.1])
        pieces.append((random.integers(vocabulary) + np.cumsum(steps)) % vocabulary)
    offsets = np.cumsum([0] + [len(piece) for piece in pieces])
    with h5py.File(path, "w") as file:
        file["tokens"] = np.concatenate(pieces).astype(np.uint32)
        file["offsets"] = offsets.astype(np.uint64)
        file.attrs["format"] = "dormer.tokens/1"
        file.attrs["tokenizer_sha256"] = "0" * 64  # these models have no tokenizer to compare with
        file.attrs["vocab_size"] = vocabulary
    return path
