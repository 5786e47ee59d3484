"""Our greedy generation against that of transformers, token by token, with a cache and without."""

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

import reference
from dormer_run import run

END_OF_TEXT = 2


def test_greedy_tokens_equal_those_of_transformers(probe, model_case, model_folder, adapter_folder, tmp_path):
    prompt = np.random.default_rng(41).integers(3, model_case.sizes["vocab_size"], size=(1, 9), dtype=np.int64)
    save_file({"tokens": prompt}, tmp_path / "prompt.safetensors")
    run(probe, "generate", model_folder, adapter_folder, tmp_path / "prompt.safetensors", tmp_path / "text.safetensors")
    ours = load_file(tmp_path / "text.safetensors")
    model = reference.adapted(model_folder, adapter_folder)
    theirs = model.generate(input_ids=torch.from_numpy(prompt), attention_mask=torch.ones_like(torch.from_numpy(prompt)), max_new_tokens=24,
                            do_sample=False, pad_token_id=0)[0, prompt.shape[1]:].tolist()
    if theirs[-1] == END_OF_TEXT:  # which we leave out
        theirs.pop()
    assert ours["tokens"].tolist() == theirs
    assert ours["tokens_without_cache"].tolist() == theirs
    # Sums of at most 200 terms in fp32, in other orders.
    np.testing.assert_allclose(ours["log_probabilities"], ours["log_probabilities_without_cache"], rtol=1e-4, atol=1e-4)
    text = torch.from_numpy(np.concatenate([prompt[0], theirs]))[None]
    with torch.no_grad():
        expected = model(input_ids=text).logits[0].double().log_softmax(-1)
    begin = prompt.shape[1] - 1
    expected = [expected[begin + step, token].item() for step, token in enumerate(theirs)]
    np.testing.assert_allclose(ours["log_probabilities"], expected, rtol=1e-4, atol=1e-4)
