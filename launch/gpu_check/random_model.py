"""Models of random weights as Hugging Face folders, written with torch alone. Shapes are those of SmolLM2-135M.

torch is imported where it is used: the steps before need none of it, and it takes seconds.
"""
from __future__ import annotations

import ctypes
import json
import math
import shutil
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Shape:
    vocab_size: int = 49152
    hidden_size: int = 576
    intermediate_size: int = 1536
    num_hidden_layers: int = 30
    num_attention_heads: int = 9
    num_key_value_heads: int = 3
    max_position_embeddings: int = 8192


DRY_SHAPE = Shape(vocab_size=256, hidden_size=96, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)


def weights_of(shape: Shape) -> dict[str, torch.Tensor]:
    """Seeded; products keep the size of what they multiply, norms stay near 1."""
    import torch

    generator = torch.Generator().manual_seed(11)
    draw = lambda rows, columns: (torch.randn(rows, columns, generator=generator) / math.sqrt(columns)).to(torch.bfloat16)
    norm = lambda: (1 + 0.1 * torch.randn(shape.hidden_size, generator=generator)).to(torch.bfloat16)
    hidden, inner = shape.hidden_size, shape.intermediate_size
    key_value = hidden // shape.num_attention_heads * shape.num_key_value_heads
    weights = {"model.embed_tokens.weight": draw(shape.vocab_size, hidden), "model.norm.weight": norm()}
    for block in range(shape.num_hidden_layers):
        for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", key_value, hidden),
                                    ("self_attn.v_proj", key_value, hidden), ("self_attn.o_proj", hidden, hidden),
                                    ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner)):
            weights[f"model.layers.{block}.{name}.weight"] = draw(rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{block}.{name}.weight"] = norm()
    return weights


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """The format of bfloat16 tensors: length of the header, header in JSON, bytes."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = offset + 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            kept = tensor.contiguous()
            file.write(ctypes.string_at(kept.data_ptr(), 2 * kept.numel()))  # bytes(storage) would go element by element


def write_model(folder: Path, shape: Shape, tokenizer: Path) -> None:
    """`tokenizer` is the tokenizer.json that the token sets were made with."""
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **asdict(shape), "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
              "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 0, "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    shutil.copy(tokenizer, folder / "tokenizer.json")
    write_safetensors(folder / "model.safetensors", weights_of(shape))
