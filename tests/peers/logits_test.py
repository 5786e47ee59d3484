"""Our forward pass against transformers and PEFT, in fp32: logits within 1e-5 of the largest.

The peers' own fp32 logits are 1.4e-6 to 2.9e-6 away from their fp64 ones on these models, so 1e-5 leaves room for rounding alone."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import reference
from dormer_run import difference, expect_close, run
from models import load_model

TOLERANCE = 1e-5


@pytest.fixture(scope="session")
def tokens(model_case, tmp_path_factory):
    """Rows longer than the original length of the llama3 rope."""
    values = np.random.default_rng(31).integers(model_case.sizes["vocab_size"], size=(3, 60), dtype=np.int64)
    path = tmp_path_factory.mktemp("tokens") / "tokens.safetensors"
    save_file({"tokens": values}, path)
    return values, path


def test_logits_of_the_base_equal_those_of_transformers(probe, model_folder, tokens, tmp_path):
    values, path = tokens
    run(probe, "logits", model_folder, "-", path, tmp_path / "logits.safetensors")
    ours = load_file(tmp_path / "logits.safetensors")["logits"]
    expect_close(ours, reference.logits_of(load_model(model_folder), values), TOLERANCE, "logits")


def test_logits_with_an_adapter_equal_those_of_peft(probe, model_folder, adapter_folder, tokens, tmp_path):
    values, path = tokens
    run(probe, "logits", model_folder, adapter_folder, path, tmp_path / "logits.safetensors")
    ours = load_file(tmp_path / "logits.safetensors")["logits"]
    theirs = reference.logits_of(reference.adapted(model_folder, adapter_folder), values)
    assert difference(reference.logits_of(load_model(model_folder), values), theirs) > 0.05, "the adapter changes nothing"
    expect_close(ours, theirs, TOLERANCE, "logits")
