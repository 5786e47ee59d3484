"""PEFT's folders through our reader and writer, and back into PEFT: the same tensors, the same layers, the same logits."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

TOOL = Path(os.environ["DORMER_BUILD"]) / "tests" / "peft_round_trip"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(3)
    config = LlamaConfig(vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False)
    folder = tmp_path_factory.mktemp("base") / "model"
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def load(base):
    return LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


CASES = {
    "lora": {"r": 5, "lora_alpha": 7, "target_modules": ["q_proj", "down_proj"]},
    "dora": {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj"], "use_dora": True},
    "dora on some layers": {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "o_proj"], "layers_to_transform": [1], "use_dora": True},
    "rslora": {"r": 6, "lora_alpha": 5, "target_modules": ["v_proj"], "use_rslora": True},
    "rank pattern that covers all": {"r": 8, "lora_alpha": 6, "target_modules": ["q_proj"], "rank_pattern": {"q_proj": 3}},
}


@pytest.mark.parametrize("name", CASES)
def test_peft_reads_back_what_it_wrote(base, tmp_path, name):
    torch.manual_seed(5)
    adapted = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **CASES[name])).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path / "theirs")
    run = subprocess.run([TOOL, base, tmp_path / "theirs", tmp_path / "ours"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

    theirs = load_file(tmp_path / "theirs" / "adapter_model.safetensors")
    ours = load_file(tmp_path / "ours" / "adapter_model.safetensors")
    assert theirs.keys() == ours.keys()
    for key, tensor in theirs.items():
        assert torch.equal(tensor, ours[key]), key

    config = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None and "/" not in json.dumps(config)
    reloaded = PeftModel.from_pretrained(load(base), tmp_path / "ours").eval()
    layers = {key for key, _ in adapted.named_parameters() if "lora_" in key}
    assert layers == {key for key, _ in reloaded.named_parameters() if "lora_" in key}
    tokens = torch.arange(2 * 19).reshape(2, 19) % 97
    with torch.no_grad():
        torch.testing.assert_close(reloaded(tokens).logits, adapted(tokens).logits, rtol=0, atol=1e-6)
        assert not torch.allclose(adapted(tokens).logits, load(base)(tokens).logits, atol=1e-3)
