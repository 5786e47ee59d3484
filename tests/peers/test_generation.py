"""Our greedy generation against that of transformers, token by token."""

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

import reference
from dormer_run import run


def test_greedy_tokens_equal_those_of_transformers(probe, model_case, model_folder, adapter_folder, tmp_path):
    prompt = np.random.default_rng(41).integers(3, model_case.sizes["vocab_size"], size=(1, 9), dtype=np.int64)
    save_file({"tokens": prompt}, tmp_path / "prompt.safetensors")
    run(probe, "generate", model_folder, adapter_folder, tmp_path / "prompt.safetensors", tmp_path / "text.safetensors")
    ours = load_file(tmp_path / "text.safetensors")["tokens"]
    model = reference.adapted(model_folder, adapter_folder)
    theirs = model.generate(input_ids=torch.from_numpy(prompt), max_new_tokens=40, do_sample=False, pad_token_id=0)[0, prompt.shape[1]:]
    theirs = theirs.tolist()
    if theirs[-1] == 2:  # we leave the end-of-text token out
        theirs.pop()
    assert ours.tolist() == theirs
