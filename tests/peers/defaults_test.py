"""docs/defaults.md says what is so: our column as docs/configuration.md has it, PEFT's as the installed packages have it."""

import re
from pathlib import Path

import pytest
from peft import LoraConfig
from transformers import TrainingArguments

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def first_value(cell: str) -> str:
    """A cell without its explanation: "8 (`r`)" is 8, "null: to be written" is null."""
    return re.split(r", which| \(|: | on every| epochs", cell)[0]


OURS = {cells[0].strip("`"): cells[2].strip("`") for cells in rows("configuration.md")}
TABLE = {cells[0].strip("`"): cells[1:] for cells in rows("defaults.md")}


def number(text: str):
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("key", TABLE)
def test_our_column_is_the_configuration(key):
    assert number(first_value(TABLE[key][0])) == number(OURS[key])


def test_pefts_column_is_the_installed_packages(tmp_path):
    lora, training = LoraConfig(), TrainingArguments(output_dir=str(tmp_path))
    installed = {
        "adapter.rank": lora.r,
        "adapter.alpha": lora.lora_alpha,
        "adapter.rank_stabilized": lora.use_rslora,
        "adapter.dropout": lora.lora_dropout,
        "adapter.decompose": lora.use_dora,
        "optimizer.learning_rate": training.learning_rate,
        "optimizer.weight_decay": training.weight_decay,
        "optimizer.epsilon": training.adam_epsilon,
        "optimizer.max_gradient_norm": training.max_grad_norm,
        "schedule.kind": training.lr_scheduler_type.value,
        "schedule.warmup": training.warmup_steps,
        "batch.global": training.per_device_train_batch_size,
        "run.seed": training.seed,
    }
    for key, value in installed.items():
        assert number(first_value(TABLE[key][1])) == number(str(value).lower()), key
    assert first_value(TABLE["run.steps"][1]) == f"{training.num_train_epochs:g}"
    assert TABLE["optimizer.betas"][1] == f"{training.adam_beta1}, {training.adam_beta2}"
