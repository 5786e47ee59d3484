#!/usr/bin/env python3
"""Computes the states of texts by a text encoder that dormer does not have, and writes them into a file for text.embeddings (docs/text_embeddings.md).

Of Stable Diffusion 3 and 3.5 that is T5: text_encoder_3 and tokenizer_3 of the model's folder, as diffusers' pipeline runs them.

Examples:
  dormer cache configs/sd35_dora.yaml --list-texts texts.json
  launch/import_embeddings.py texts.json --model models/sd35-medium --output t5.h5
  dormer train configs/sd35_dora.yaml --set text.embeddings=t5.h5

Any other encoder: a Python file with a function that takes a list of texts and returns their states, an array [texts, tokens, width].
  launch/import_embeddings.py texts.json --function my_encoder.py:encode --output states.h5
"""

import argparse
import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np

FORMAT = "dormer.text_states/1"
LONGEST_TEXT = 60_000  # bytes that an attribute of HDF5 has room for


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="JSON with a list of texts, as dormer cache CONFIG --list-texts writes it")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, metavar="FOLDER", help="folder of diffusers with text_encoder_3 and tokenizer_3")
    source.add_argument("--function", metavar="FILE.py:NAME", help="a function from a list of texts to an array [texts, tokens, width]")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="HDF5; a file that is there is replaced when all is done")
    parser.add_argument("--tokens", type=int, default=256, help="of every text; longer ones are cut (default 256, that of diffusers)")
    parser.add_argument("--batch-size", type=int, default=8, help="texts at a time (default 8)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda:0, …")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="that the encoder computes in (default float32)")
    parser.add_argument("--half", action="store_true", help="keep states in float16, in half the bytes; refused where one is too large for it")
    return parser.parse_args()


def read_texts(path: Path) -> list[str]:
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        sys.exit(f"error: {path}: {problem}")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        sys.exit(f"error: {path} is no list of texts; dormer cache CONFIG --list-texts {path} writes one")
    for text in texts:
        if len(text.encode()) > LONGEST_TEXT:
            sys.exit(f"error: {path}: a text of {len(text.encode())} bytes; {LONGEST_TEXT} are the most")
    return sorted(set(texts))


def encoder_of_model(arguments: argparse.Namespace):
    """T5 as diffusers' Stable Diffusion 3 pipeline runs it: texts filled up with padding, which is encoded like the rest, without a mask."""
    import torch
    from transformers import AutoTokenizer, T5EncoderModel

    for part in ("text_encoder_3", "tokenizer_3"):
        if not (arguments.model / part).is_dir():
            sys.exit(f"error: {arguments.model} has no {part}: fetch the whole model, or name another encoder with --function")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model / "tokenizer_3")
    model = T5EncoderModel.from_pretrained(arguments.model / "text_encoder_3", dtype=getattr(torch, arguments.dtype)).to(arguments.device).eval()

    def encode(texts):
        ids = tokenizer(texts, padding="max_length", max_length=arguments.tokens, truncation=True, add_special_tokens=True, return_tensors="pt").input_ids
        with torch.no_grad():
            return model(ids.to(arguments.device))[0].float().cpu().numpy()

    return encode


def encoder_of_file(function: str):
    path, _, name = function.rpartition(":")
    if not path or not Path(path).is_file():
        sys.exit(f"error: --function {function}: write FILE.py:NAME")
    spec = importlib.util.spec_from_file_location("encoder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        sys.exit(f"error: {path} has no {name}")
    return getattr(module, name)


def states_of(encode, texts: list[str], half: bool) -> np.ndarray:
    states = np.asarray(encode(texts), dtype=np.float32)
    if states.ndim != 3 or len(states) != len(texts):
        sys.exit(f"error: the encoder gave an array of shape {states.shape} for {len(texts)} texts; [texts, tokens, width] is wanted")
    if not np.isfinite(states).all():
        sys.exit("error: the encoder gave states that are not finite; T5 wants --dtype bfloat16 or float32")
    if half and np.abs(states).max() > np.finfo(np.float16).max:
        sys.exit("error: a state is too large for float16; leave --half out")
    return states.astype(np.float16) if half else states


def write_states(file: h5py.File, texts: list[str], encode, arguments: argparse.Namespace) -> None:
    digest = hashlib.sha256()
    shape = None
    for first in range(0, len(texts), arguments.batch_size):
        batch = texts[first:first + arguments.batch_size]
        for offset, (text, states) in enumerate(zip(batch, states_of(encode, batch, arguments.half))):
            shape = shape or states.shape
            if states.shape != shape:
                sys.exit(f"error: the encoder gave states of shape {states.shape} after {shape}; all texts must have as many tokens")
            file.create_dataset(f"states/{first + offset:08}", data=states).attrs["text"] = text
            digest.update(len(text.encode()).to_bytes(8, "little") + text.encode() + str(states.shape).encode() + states.tobytes())
        print(f"\r{min(first + len(batch), len(texts))} of {len(texts)} texts", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    file.attrs["format"] = FORMAT
    file.attrs["encoder"] = str(arguments.model or arguments.function)
    file.attrs["sha256"] = digest.hexdigest()


def main() -> None:
    arguments = parse_arguments()
    texts = read_texts(arguments.texts)
    encode = encoder_of_model(arguments) if arguments.model else encoder_of_file(arguments.function)
    unfinished = arguments.output.with_name(arguments.output.name + f".tmp-{os.getpid()}")
    try:
        with h5py.File(unfinished, "w", libver="v110") as file:
            write_states(file, texts, encode, arguments)
        unfinished.replace(arguments.output)
    except OSError as problem:
        sys.exit(f"error: cannot write {arguments.output}: {problem}")
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"{arguments.output}: the states of {len(texts)} texts")


if __name__ == "__main__":
    main()
