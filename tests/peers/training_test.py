"""Our training against PEFT's adapters and PyTorch's AdamW, in fp32, on the very same batches."""

import math

import h5py
import numpy as np
import pytest

import reference
from dormer_run import Training, difference, expect_close

UPDATES = 20


@pytest.fixture(scope="module")
def training(tmp_path_factory, program, model_folder, adapter_folder, adapter_case, token_files):
    result = Training(tmp_path_factory.mktemp("training"), model_folder, adapter_folder, adapter_case, token_files)
    result.train(program, "--trace", "1")
    return result



def test_the_traced_tokens_are_those_of_the_data_set(training, token_files):
    trace = training.trace(1)
    with h5py.File(token_files[0]) as file:
        tokens = file["tokens"][:]
    length = training.LENGTH
    for sample, row in zip(trace["samples"], trace["tokens"], strict=True):
        begin = sample * length
        assert row.tolist() == tokens[begin : begin + length + 1].tolist()


def test_gradients_equal_those_of_peft(training, model_folder, adapter_folder):
    trace = training.trace(1)
    model = reference.adapted(model_folder, adapter_folder, trainable=True)
    loss = reference.loss_of(model, trace["tokens"])
    loss.backward()
    assert float(trace["loss"][0]) == pytest.approx(loss.item(), rel=1e-5)
    expected = reference.parameters(model)
    assert {name.removeprefix("gradient.") for name in trace if name.startswith("gradient.")} == set(expected)
    for name, parameter in expected.items():
        assert difference(trace[f"before.{name}"], parameter.detach().numpy()) == 0.0, name
        expect_close(trace[f"gradient.{name}"], parameter.grad.numpy(), 1e-4, name)
    squares = sum(float((p.grad.double() ** 2).sum()) for p in expected.values())
    assert float(trace["gradient_norm"][0]) == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_one_update_is_adamw_on_the_traced_gradients(training):
    trace = training.trace(1)
    settings = training.groups["optimizer"]
    rate = float(trace["learning_rate"][0])
    clip = min(1.0, settings["max_gradient_norm"] / float(trace["gradient_norm"][0]))
    beta1, beta2 = settings["betas"]
    for key in [key for key in trace if key.startswith("gradient.")]:
        name = key.removeprefix("gradient.")
        gradient = trace[key].astype(np.float64) * clip
        decay = 0.0 if "magnitude" in name else settings["weight_decay"]
        first = (1 - beta1) * gradient / (1 - beta1)
        second = (1 - beta2) * gradient**2 / (1 - beta2)
        before = trace[f"before.{name}"].astype(np.float64)
        after = before * (1 - rate * decay) - rate * first / (np.sqrt(second) + settings["epsilon"])
        # Two roundings of the result and a few of a step that is 5e-3 at most.
        assert np.abs(trace[f"after.{name}"] - after).max() < 2e-7 * max(1.0, np.abs(before).max()), name


def test_losses_of_twenty_updates_equal_those_of_pytorch(training, program, model_folder, adapter_folder, adapter_case, token_files,
                                                         tmp_path):
    ordered = Training(tmp_path, model_folder, adapter_folder, adapter_case, token_files, data={"shuffle": False})
    ordered.train(program, "--trace", "20")
    metrics = [line for line in ordered.metrics() if "loss" in line]
    assert [line["step"] for line in metrics] == list(range(1, UPDATES + 1))
    with h5py.File(token_files[0]) as file:
        tokens = file["tokens"][:].astype(np.int64)
    length, count = ordered.LENGTH, ordered.GLOBAL
    samples = (len(tokens) - 1) // length
    batches = [np.stack([tokens[s * length : s * length + length + 1] for s in (np.arange(count) + update * count) % samples])
               for update in range(UPDATES)]
    assert np.array_equal(ordered.trace(UPDATES)["tokens"], batches[-1])
    model = reference.adapted(model_folder, adapter_folder, trainable=True)
    untrained = reference.loss_of(model, batches[-1]).item()
    expected = list(reference.train(model, batches, [line["learning_rate"] for line in metrics], ordered.groups["optimizer"]))
    # Ten times the tolerance: otherwise a program that does not train at all would pass.
    assert expected[-1][0] < untrained * (1 - 1e-3), "the peer itself did not learn: the comparison says nothing"
    for line, (loss, norm) in zip(metrics, expected, strict=True):
        assert line["loss"] == pytest.approx(loss, rel=1e-4), f"update {line['step']}"
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3), f"update {line['step']}"


def test_peft_loads_the_export_and_reproduces_the_held_out_loss(training, model_folder, token_files):
    held_out = [line["validation_loss"] for line in training.metrics() if "validation_loss" in line]
    with h5py.File(token_files[1]) as file:
        tokens = file["tokens"][:].astype(np.int64)
    length = training.LENGTH
    samples = min((len(tokens) - 1) // length, training.groups["validation"]["samples"])
    model = reference.adapted(model_folder, training.export)
    batch = np.stack([tokens[s * length : s * length + length + 1] for s in range(samples)])
    assert held_out[-1] == pytest.approx(reference.loss_of(model, batch).item(), rel=1e-5)


def test_magnitudes_are_exported_for_dora_alone(training, adapter_case):
    from safetensors.numpy import load_file

    names = load_file(training.export / "adapter_model.safetensors")
    assert any("lora_magnitude_vector" in name for name in names) == adapter_case.decompose
