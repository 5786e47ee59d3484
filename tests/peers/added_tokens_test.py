"""Rows for added tokens against PEFT's trainable_token_indices on a resized model, in fp32; tied and separate heads."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file

import reference
from dormer_run import Training, expect_close, run
from models import MODEL_CASES, AdapterCase, load_model, make_model, make_tokens

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "launch"))
from tokenizer_identity import tokenizer_sha256  # noqa: E402

UPDATES = 20
ADDED = 3
CASES = [case for case in MODEL_CASES if case.name in ("tied_head", "odd_sizes_in_shards", "gemma2")]  # tied, separate, tied and scaled
DORA = AdapterCase("dora", True)


def write_tokenizer(folder, vocabulary, added):
    tokens = [{"id": vocabulary + i, "content": f"<new{i}>", "special": False} for i in range(added)]
    model = {"type": "BPE", "vocab": {f"t{i}": i for i in range(vocabulary)}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": tokens, "model": model}))


def make_token_file(path, folder, vocabulary, seed):
    make_tokens(path, 60, vocabulary, seed)
    with h5py.File(path, "r+") as file:
        file.attrs["tokenizer_sha256"] = tokenizer_sha256(folder / "tokenizer.json")
    return path


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def prepared(request, tmp_path):
    """The model's folder, what makes a run on it, the token files, and the ids that the model has no rows for."""
    case = request.param
    folder = make_model(case, tmp_path / "model")
    vocabulary = case.sizes["vocab_size"]
    write_tokenizer(folder, vocabulary, ADDED)
    tokens = [make_token_file(tmp_path / f"{name}.h5", folder, vocabulary + ADDED, seed) for name, seed in (("train", 25), ("validation", 26))]

    def make_training(name):
        (tmp_path / name).mkdir()
        training = Training(tmp_path / name, folder, "unused", DORA, tokens, data={"shuffle": False})
        training.groups["model"]["added_tokens"] = "train"
        del training.groups["adapter"]["init_from"]
        training.write()
        return training

    return folder, make_training, tokens, list(range(vocabulary, vocabulary + ADDED))


def resized(folder, ids):
    """The model with new rows, random as resizing makes them."""
    model = load_model(folder)
    model.resize_token_embeddings(ids[-1] + 1, mean_resizing=False)
    return model


def our_name(name):
    return name.replace("token_adapter.trainable_tokens_delta", "added_tokens")


def peer_at_our_start(folder, ids, before):
    model = resized(folder, ids)
    with torch.no_grad():
        for table in {id(t): t for t in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)}.values():
            table[ids] = table[: ids[0]].double().mean(0).float()
    tables = ["embed_tokens"] if model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    model = get_peft_model(model, LoraConfig(r=DORA.rank, lora_alpha=DORA.alpha, use_dora=True, target_modules="all-linear", bias="none",
                                             task_type="CAUSAL_LM", trainable_token_indices={table: ids for table in tables}))
    for name, parameter in reference.parameters(model).items():
        values = torch.from_numpy(before[our_name(name)])
        if "added" in our_name(name):
            assert torch.allclose(values, parameter, rtol=1e-6, atol=1e-7), f"{name} does not start at the mean"
        with torch.no_grad():
            parameter.copy_(values)
    return model


def test_twenty_updates_equal_those_of_peft(prepared, program):
    folder, make_training, tokens, ids = prepared
    first, training = make_training("first"), make_training("whole")
    first.train(program, "--trace", "1")
    training.train(program, "--trace", str(UPDATES))
    trace = first.trace(1)
    before = {name.removeprefix("before."): values for name, values in trace.items() if name.startswith("before.")}
    model = peer_at_our_start(folder, ids, before)
    assert set(before) == {our_name(name) for name in reference.parameters(model)}
    with h5py.File(tokens[0]) as file:
        stream = file["tokens"][:].astype(np.int64)
    assert set(ids) <= set(stream.tolist()), "the data uses no added token"
    length, count = training.LENGTH, training.GLOBAL
    samples = (len(stream) - 1) // length
    batches = [np.stack([stream[s * length : s * length + length + 1] for s in (np.arange(count) + update * count) % samples])
               for update in range(UPDATES)]
    metrics = [line for line in training.metrics() if "loss" in line]
    expected = list(reference.train(model, batches, [line["learning_rate"] for line in metrics], training.groups["optimizer"]))
    for line, (loss, norm) in zip(metrics, expected, strict=True):
        assert line["loss"] == pytest.approx(loss, rel=1e-4), f"update {line['step']}"
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3), f"update {line['step']}"
    after = training.trace(UPDATES)
    for name, parameter in reference.parameters(model).items():
        if "token_adapter" in name:
            values = after[f"after.{our_name(name)}"]
            assert np.abs(values - before[our_name(name)]).max() > 0.01, f"{name} did not move"
            expect_close(values, parameter.detach().numpy(), 1e-3, name)


def test_peft_and_we_load_the_export(prepared, program, probe, tmp_path):
    folder, make_training, _, ids = prepared
    training = make_training("run")
    training.train(program)
    tokens = np.random.default_rng(71).integers(ids[-1] + 1, size=(2, 40), dtype=np.int64)
    tokens[:, 5] = ids[0]
    save_file({"tokens": tokens}, tmp_path / "tokens.safetensors")
    run(probe, "logits", folder, training.export, tmp_path / "tokens.safetensors", tmp_path / "logits.safetensors")
    ours = load_file(tmp_path / "logits.safetensors")["logits"]
    peer = PeftModel.from_pretrained(resized(folder, ids), training.export).eval()
    expect_close(ours, reference.logits_of(peer, tokens), 1e-5, "logits")
    held_out = [line["validation_loss"] for line in training.metrics() if "validation_loss" in line]
    evaluated = run(program, "evaluate", training.config, "--adapter", training.export)
    assert float(evaluated.split()[2]) == pytest.approx(held_out[-1], abs=1e-6)


def test_without_the_key_such_data_is_refused_with_the_remedy(prepared, program):
    folder, make_training, _, ids = prepared
    training = make_training("run")
    done = subprocess.run([program, "train", training.config, "--set", "model.added_tokens=none"], capture_output=True, text=True)
    assert done.returncode == 3 and "model.added_tokens: train" in done.stderr, done.stderr
    write_tokenizer(folder, ids[0], 0)
    done = subprocess.run([program, "train", training.config], capture_output=True, text=True)
    assert done.returncode == 2 and "there is nothing to add" in done.stderr, done.stderr
