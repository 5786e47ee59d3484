"""`adapter.start: eva` against PEFT's `get_eva_state_dict` on the same model and samples, and against its definition.

PEFT's incremental SVD is an approximation, unless all tokens stand in one batch and `svd_lowrank` may take as many columns as the input is
wide (twice the rank): then it is exact, and so comparable. Layers are as wide as twice the rank here.

The bound on the sine of the largest angle between two subspaces is Wedin's (1972): the difference of the two matrices over the gap between
the last singular value that is taken and the first that is not. The difference is that of two fp32 forward passes, 1e-5 as in
logits_test.py, of the matrix."""

import h5py
import numpy as np
import pytest
import torch
from peft import EvaConfig, LoraConfig
from peft.tuners.lora.eva import get_eva_state_dict

from dormer_run import Training
from models import AdapterCase, ModelCase, load_model, make_model, make_tokens

WIDTH = 64
RANK = WIDTH // 2
SAMPLES = 40
FORWARD = 1e-5
TARGETS = [f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")]
MODEL = ModelCase("as_wide_as_twice_the_rank", dict(hidden_size=WIDTH, intermediate_size=WIDTH, vocab_size=256, num_hidden_layers=2,
                                                    num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True), seed=31)


def sine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of the largest angle between the spans of the rows."""
    ours, theirs = (np.linalg.qr(rows.astype(np.float64).T)[0] for rows in (ours, theirs))
    return float(np.linalg.norm(ours - theirs @ (theirs.T @ ours), 2))


def inputs_of(model, batch) -> dict[str, np.ndarray]:
    """What every linear layer of the blocks is given at the positions that count."""
    seen = {}
    counted = (batch["labels"] != -100).reshape(-1)
    handles = [module.register_forward_hook(lambda _, x, __, name=name: seen.update({name: x[0].reshape(-1, x[0].shape[-1])[counted]}))
               for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "layers" in name]
    with torch.no_grad():
        model(input_ids=batch["input_ids"])
    for handle in handles:
        handle.remove()
    return {name: x.double().numpy() for name, x in seen.items()}


@pytest.mark.parametrize("masked", [False, True])
def test_directions_are_those_of_peft_and_of_the_definition(masked, tmp_path, program):
    model = make_model(MODEL, tmp_path / "model")
    tokens = [make_tokens(tmp_path / f"{name}.h5", 60, MODEL.sizes["vocab_size"], seed) for name, seed in (("train", 41), ("validation", 42))]
    if masked:
        for path in tokens:
            with h5py.File(path, "a") as file:
                file["loss_mask"] = (np.random.default_rng(43).random(file["tokens"].shape[0]) < 0.6).astype(np.uint8)
    training = Training(tmp_path, model, tmp_path, AdapterCase("lora", False, rank=RANK, alpha=RANK), tokens, data={"shuffle": False},
                        run={"steps": 1}, validation={"every": 0}, schedule={"kind": "constant", "warmup": 0})
    del training.groups["adapter"]["init_from"]
    training.groups["adapter"] |= {"start": "eva", "start_samples": SAMPLES}
    training.write()
    training.train(program, "--trace", "1")
    trace = training.trace(1)

    length = training.LENGTH
    with h5py.File(tokens[0]) as file:
        stream = torch.from_numpy(file["tokens"][: SAMPLES * length + 1].astype(np.int64))
        mask = torch.from_numpy(file["loss_mask"][: SAMPLES * length + 1]) if masked else torch.ones_like(stream)
    rows = stream[:-1].reshape(SAMPLES, length)
    # PEFT leaves a position out by its own label; ours counts where a counted token is predicted.
    labels = torch.where(mask[1:].reshape(rows.shape) == 1, rows, -100)
    batch = {"input_ids": rows, "attention_mask": torch.ones_like(rows), "labels": labels}
    peer = load_model(model)
    config = LoraConfig(r=RANK, target_modules=TARGETS, init_lora_weights="eva", task_type="CAUSAL_LM", eva_config=EvaConfig(rho=1.0))
    theirs = get_eva_state_dict(peer, [batch], config, show_progress_bar=False)
    inputs = inputs_of(peer, batch)
    names = [name for name in trace if name.startswith("before.") and name.endswith(".lora_A.weight")]
    assert len(names) == len(inputs) == 14
    for name in names:
        site = name.removeprefix("before.").removesuffix(".lora_A.weight")
        a = trace[name]
        assert a.shape == (RANK, WIDTH)
        assert np.abs(a.astype(np.float64) @ a.T - np.eye(RANK)).max() < 8 * 2**-24 * WIDTH**0.5, f"{site}: orthonormal"
        x = inputs[site]
        _, values, right = np.linalg.svd(x - x.mean(0), full_matrices=False)
        allowed = FORWARD * np.linalg.norm(x) / (values[RANK - 1] - values[RANK])
        assert allowed < 0.1, f"{site}: the case says nothing"
        assert sine(a, right[:RANK]) < allowed, f"{site}: the definition"
        assert sine(a, theirs[site].numpy()) < allowed, f"{site}: PEFT"
        assert not trace[name.replace("lora_A", "lora_B")].any(), f"{site}: B is zero"
    for block in range(2):
        q, k, v = (trace[f"before.model.layers.{block}.self_attn.{part}_proj.lora_A.weight"] for part in "qkv")
        assert np.array_equal(q, k) and np.array_equal(q, v), "they share their input"
