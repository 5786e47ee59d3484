"""What the peers compute: PEFT's forward and backward passes and torch.optim.AdamW on given batches, in fp32."""

import numpy as np
import torch
from peft import PeftModel

from models import load_model


def adapted(model_folder, adapter_folder, trainable=False):
    return PeftModel.from_pretrained(load_model(model_folder), adapter_folder, is_trainable=trainable)


def plain_name(name: str) -> str:
    """A parameter of a PEFT model, named as in our traces."""
    name = name.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "").replace(".base_layer.bias", ".bias")
    return name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def parameters(model) -> dict[str, torch.nn.Parameter]:
    return {plain_name(name): parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def loss_of(model, tokens: np.ndarray) -> torch.Tensor:
    """Mean loss of the tokens of a batch [samples, length + 1]."""
    tokens = torch.from_numpy(tokens.astype(np.int64))
    logits = model(input_ids=tokens[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))


def logits_of(model, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(tokens.astype(np.int64))).logits.numpy()


def train(model, batches, learning_rates, optimizer: dict):
    """AdamW over the batches, with the groups that the configuration's optimizer names; yields (loss, gradient norm) of every update."""
    trained = parameters(model)
    rate, decay, magnitude = optimizer["learning_rate"], optimizer["weight_decay"], optimizer.get("magnitude", {})

    def settings(name):
        if "magnitude" in name:
            return {"base": magnitude.get("learning_rate", rate), "weight_decay": magnitude.get("weight_decay", 0.0)}
        return {"base": rate * (optimizer.get("loraplus_ratio", 1.0) if "lora_B" in name else 1.0), "weight_decay": decay}

    groups = [{"params": [parameter], **settings(name)} for name, parameter in trained.items()]
    adamw = torch.optim.AdamW(groups, betas=tuple(optimizer["betas"]), eps=optimizer["epsilon"])
    for tokens, learning_rate in zip(batches, learning_rates, strict=True):
        adamw.zero_grad()
        loss = loss_of(model, tokens)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(trained.values()), optimizer["max_gradient_norm"])
        for group in adamw.param_groups:
            group["lr"] = group["base"] * learning_rate / rate
        adamw.step()
        yield loss.item(), norm.item()
