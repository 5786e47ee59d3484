"""A sweep that EleutherAI's harness judges, through the script that docs/sweeps.md recommends: on PEFT's form and on merged models its value is
the one that PEFT and transformers give for the same text."""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dormer_run import Training, run
from models import MODEL_CASES, AdapterCase, load_model, make_model, make_tokens

sys.path.insert(0, str(Path(__file__).parents[2] / "launch"))
from measure_with_lm_eval import value_of  # noqa: E402
from tokenizer_identity import tokenizer_sha256  # noqa: E402

SCRIPT = Path(__file__).parents[2] / "launch" / "measure_with_lm_eval.py"
CASE = next(case for case in MODEL_CASES if case.name == "odd_sizes_in_shards")
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {lines}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}, {{metric: word_perplexity}}]
"""
SWEEP = {"method": "grid", "space": {"optimizer.learning_rate": [1.0e-3, 6.0e-2]}}


def add_tokenizer(model):
    """Every word is a token; the harness puts the end of a text in front of the first one."""
    names = ["w0", "<begin>", "<end>", *(f"w{index}" for index in range(3, CASE.sizes["vocab_size"]))]
    words = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<begin>", eos_token="<end>").save_pretrained(model)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A model with a tokenizer, token sets, and two tasks of a few lines of text."""
    folder = tmp_path_factory.mktemp("lm_eval")
    model = make_model(CASE, folder / "model")
    add_tokenizer(model)
    for part, seed in (("train", 23), ("validation", 24)):
        with h5py.File(make_tokens(folder / f"{part}.h5", 60, CASE.sizes["vocab_size"], seed), "a") as file:
            file.attrs["tokenizer_sha256"] = tokenizer_sha256(model / "tokenizer.json")
    (folder / "tasks").mkdir()
    generator = torch.Generator().manual_seed(9)
    for name, count in (("some_words", 5), ("more_words", 3)):
        texts = [" ".join(f"w{word}" for word in torch.randint(3, CASE.sizes["vocab_size"], (length,), generator=generator).tolist())
                 for length in range(20, 20 + 7 * count, 7)]
        lines = folder / f"{name}.jsonl"
        lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        (folder / "tasks" / f"{name}.yaml").write_text(TASK.format(name=name, lines=lines))
    return folder


def bits_per_byte(model, lines):
    """Computed without the harness: every token of a text, the first after the token that begins one."""
    bits, size = 0.0, 0
    for line in lines.read_text().splitlines():
        text = json.loads(line)["text"]
        tokens = torch.tensor([[1, *(int(word[1:]) for word in text.split())]])
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits.double()
        bits += torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:], reduction="sum").item() / math.log(2)
        size += len(text.encode())
    return bits / size


@pytest.mark.parametrize("form", ["peft", "merged"])
def test_a_sweep_is_judged_by_the_harness(work, tmp_path, program, form):
    command = [sys.executable, SCRIPT, "{adapter}", "--tasks", "some_words", "more_words", "--tasks-in", work / "tasks", "--metric", "bits_per_byte"]
    command += ["--model", work / "model"] if form == "peft" else []
    training = Training(tmp_path, work / "model", "unused", AdapterCase("lora", True), [work / "train.h5", work / "validation.h5"],
                        run={"steps": 6}, schedule={"warmup": 0}, validation={"every": None})
    del training.groups["adapter"]["init_from"], training.groups["run"]["resume"]
    training.groups["export"] = [{"for": form, "dtype": "float32"}]
    training.groups["sweep"] = {**SWEEP, "evaluate": " ".join(word if word == "{adapter}" else shlex.quote(str(word)) for word in command)}
    training.write()
    run(program, "sweep", "run", training.config)
    trials = json.loads(run(program, "sweep", "export", training.config))["trials"]
    assert all(trial["state"] == "complete" for trial in trials), trials
    values = [trial["measurements"][-1]["value"] for trial in trials]
    assert abs(values[0] - values[1]) > 1e-2, "both trials are alike: the comparison says nothing"

    run(program, "sweep", "best", training.config)
    export = training.directory / "best" / form
    model = load_model(export) if form == "merged" else PeftModel.from_pretrained(load_model(work / "model"), export)
    tasks = [bits_per_byte(model, work / f"{name}.jsonl") for name in ("some_words", "more_words")]
    assert min(values) == pytest.approx(sum(tasks) / 2, rel=1e-5)  # fp32 logits of two programs


def test_what_it_cannot_measure_is_one_line(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, tmp_path, "--tasks", "arc_easy", "--metric", "acc"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path} holds neither adapter_config.json nor config.json: export for peft, or merged\n"
    results = {"alias": "words", "bits_per_byte,none": 4.5, "exact_match,strict": 0.25, "exact_match,flexible": 0.5, "exact_match_stderr,strict": 0.1}
    assert value_of("words", results, "bits_per_byte") == 4.5
    assert value_of("words", results, "exact_match,flexible") == 0.5
    for metric, problem in (("acc", "no metric 'acc'; it has bits_per_byte,none, exact_match,flexible, exact_match,strict"), ("exact_match", "more than one metric")):
        with pytest.raises(SystemExit, match=problem):
            value_of("words", results, metric)
