"""What trains beside the blocks' linear layers against PEFT and PyTorch's AdamW, in fp32, with tied and separate heads: an adapter of the
embedding, norms, head and embedding that train whole, and biases. Logits within 1e-5 of the largest, gradients and parameters after ten updates within 1e-4."""

import json
import subprocess
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import reference
from dormer_run import Training, difference, expect_close, run
from models import MODEL_CASES, AdapterCase, add_adapter, load_model, make_model, make_tokens

UPDATES = 10


@dataclass(frozen=True)
class Case:
    adapter: AdapterCase
    trained: tuple[str, ...]  # modules that must have moved
    models: tuple[str, ...]


BOTH = ("tied_head", "odd_sizes_in_shards")
CASES = [
    Case(AdapterCase("lora_embedding", False, targets=("embed_tokens", "q_proj", "down_proj")), ("embed_tokens",), BOTH),
    Case(AdapterCase("dora_embedding", True, targets=("embed_tokens", "q_proj", "down_proj")), ("embed_tokens",), (*BOTH, "gemma2")),
    Case(AdapterCase("embedding_alone", False, targets=("embed_tokens",)), ("embed_tokens",), ("tied_head",)),
]
LINEAR = ("q_proj", "down_proj")
CASES += [
    Case(AdapterCase("beside_norms_and_head", False, targets=LINEAR, whole=("input_layernorm", "post_attention_layernorm", "model.norm", "lm_head")),
         ("input_layernorm", "model.norm", "lm_head"), BOTH),
    Case(AdapterCase("dora_beside_the_embedding", True, targets=LINEAR, whole=("embed_tokens",)), ("embed_tokens",), (*BOTH, "gemma2")),
    Case(AdapterCase("beside_norms_of_heads", True, targets=LINEAR, whole=("input_layernorm", "q_norm", "k_norm", "model.norm")), ("q_norm", "model.norm"), ("qwen3",)),
    Case(AdapterCase("beside_norms_with_an_offset", False, targets=LINEAR, whole=("input_layernorm", "post_feedforward_layernorm", "model.norm")),
         ("post_feedforward_layernorm", "model.norm"), ("gemma2",)),
]
CASES += [
    Case(AdapterCase("biases_of_adapted_layers", False, targets=("q_proj", "v_proj", "down_proj"), bias="lora_only"), ("q_proj.bias", "v_proj.bias"), ("qwen2",)),
    Case(AdapterCase("all_biases_and_dora", True, targets=("q_proj", "o_proj"), bias="all"), ("q_proj.bias", "k_proj.bias", "v_proj.bias"), ("qwen2",)),
]
PAIRS = [(model, case) for case in CASES for model in MODEL_CASES if model.name in case.models]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1].adapter.name}")
def trained(request, tmp_path_factory, program):
    """A run of ten updates from an adapter that PEFT wrote, with its folders and its data."""
    model, case = request.param
    folder = tmp_path_factory.mktemp("beside")
    base = make_model(model, folder / "model")
    add_adapter(load_model(base), case.adapter, seed=12).save_pretrained(folder / "adapter")
    tokens = [make_tokens(folder / f"{name}.h5", 60, model.sizes["vocab_size"], seed) for name, seed in (("train", 33), ("validation", 34))]
    training = Training(folder, base, folder / "adapter", case.adapter, tokens, data={"shuffle": False}, run={"steps": UPDATES},
                        # AdamW divides a gradient by its size: of elements that are all but zero (an embedding has many) a small
                        # epsilon would compare the rounding.
                        optimizer={"epsilon": 1e-5},
                        validation={"every": UPDATES, "samples": 8, "keep_best": False})
    training.groups["adapter"]["bias"] = {"none": "none", "lora_only": "adapter_only", "all": "all"}[case.adapter.bias]
    training.groups["adapter"]["targets"] = [*case.adapter.targets, *case.adapter.whole]
    training.groups["export"] = [{"for": "peft", "dtype": "float32"}, {"for": "merged", "dtype": "float32"}]
    training.write()
    training.train(program, "--trace", str(UPDATES))
    return training, base, folder / "adapter", tokens, case


def batch_at(training, stream, update):
    length, count = training.LENGTH, training.GLOBAL
    samples = (len(stream) - 1) // length
    return np.stack([stream[s * length : s * length + length + 1] for s in (np.arange(count) + update * count) % samples])


def test_logits_and_gradients_equal_those_of_peft(trained, probe, tmp_path):
    training, base, adapter, tokens, _ = trained
    with h5py.File(tokens[0]) as file:
        rows = batch_at(training, file["tokens"][:].astype(np.int64), 0)
    save_file({"tokens": rows}, tmp_path / "tokens.safetensors")
    for command in ("logits", "gradients"):
        run(probe, command, base, adapter, tmp_path / "tokens.safetensors", tmp_path / f"{command}.safetensors")
    model = reference.adapted(base, adapter, trainable=True)
    theirs = reference.logits_of(model, rows)
    assert difference(reference.logits_of(load_model(base), rows), theirs) > 0.05, "the adapter changes nothing"
    expect_close(load_file(tmp_path / "logits.safetensors")["logits"], theirs, 1e-5, "logits")
    reference.loss_of(model, rows).backward()
    ours = {reference.plain_name(name): values for name, values in load_file(tmp_path / "gradients.safetensors").items()}
    expected = reference.parameters(model)
    assert set(ours) == {"loss", *expected}
    for name, parameter in expected.items():
        expect_close(ours[name], parameter.grad.numpy(), 1e-4, name)


def test_ten_updates_equal_those_of_peft(trained):
    training, base, adapter, tokens, case = trained
    with h5py.File(tokens[0]) as file:
        stream = file["tokens"][:].astype(np.int64)
    model = reference.adapted(base, adapter, trainable=True)
    start = {name: parameter.detach().clone().numpy() for name, parameter in reference.parameters(model).items()}
    metrics = [line for line in training.metrics() if "loss" in line]
    expected = list(reference.train(model, [batch_at(training, stream, update) for update in range(UPDATES)],
                                    [line["learning_rate"] for line in metrics], training.groups["optimizer"]))
    for line, (loss, norm) in zip(metrics, expected, strict=True):
        assert line["loss"] == pytest.approx(loss, rel=1e-4), f"update {line['step']}"
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3), f"update {line['step']}"
    trace = training.trace(UPDATES)
    assert {name.removeprefix("after.") for name in trace if name.startswith("after.")} == set(start)
    for name, parameter in reference.parameters(model).items():
        expect_close(trace[f"after.{name}"], parameter.detach().numpy(), 1e-4, name)
    for module in case.trained:
        moved = max(difference(trace[f"after.{name}"], start[name]) for name in start if module in name)
        assert moved > 1e-2, f"{module} did not move: the comparison says nothing"


def test_peft_and_transformers_compute_the_held_out_loss_from_the_exports(trained, program):
    training, base, _, tokens, _ = trained
    held_out = [line["validation_loss"] for line in training.metrics() if "validation_loss" in line]
    batch = training.validation_batch(tokens[1])
    with torch.no_grad():
        assert held_out[-1] == pytest.approx(reference.loss_of(reference.adapted(base, training.export), batch).item(), rel=1e-5)
        merged = load_model(training.directory / "export" / "merged")
        assert held_out[-1] == pytest.approx(reference.loss_of(merged, batch).item(), rel=1e-5)
    run(program, "export", training.export, "--for", "merged", "--model", base, "--output", training.folder / "merged")
    theirs, ours = ({name: p for name, p in load_model(folder).named_parameters()}
                    for folder in (training.directory / "export" / "merged", training.folder / "merged"))
    assert set(theirs) == set(ours)
    for name, parameter in theirs.items():
        expect_close(ours[name].detach(), parameter.detach(), 1e-6, name)
    again = run(program, "evaluate", training.config, "--adapter", training.export)
    assert float(again.split()[2]) == pytest.approx(held_out[-1], abs=1e-6)


def test_merging_unties_a_head_that_does_not_follow(trained):
    training, base, _, _, case = trained
    config = json.loads((training.directory / "export" / "merged" / "config.json").read_text())
    tied = json.loads((base / "config.json").read_text())["tie_word_embeddings"]
    apart = any(name in ("embed_tokens", "lm_head") for name in case.trained)
    assert config["tie_word_embeddings"] == (tied and not apart)


def test_all_linear_leaves_the_embedding_alone(trained, program):
    training, _, _, _, case = trained
    if case.adapter.name != "lora_embedding":
        return
    done = subprocess.run([program, "train", training.config, "--set", "adapter.targets=[all-linear]", "--set", "run.directory=" + str(training.folder / "other")],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "adapts 'model.embed_tokens' and 0 further layers" in done.stderr, done.stderr
