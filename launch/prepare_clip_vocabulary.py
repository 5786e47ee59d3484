#!/usr/bin/env python3
"""Writes CLIP's vocabulary as the tokenizer folder of a diffusion model (vocab.json, merges.txt), for models in one .safetensors, which hold none (text.tokenizer).

Made of the merges that the PyPI package open_clip_torch carries: pip install --no-deps -r launch/requirements-clip.txt
Example: launch/prepare_clip_vocabulary.py --output models/clip_vocabulary
"""

import argparse
import gzip
import importlib.util
import json
from pathlib import Path

MERGES = 49152 - 256 - 2  # of 262,144 in the file, as many as CLIP was trained with
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def byte_symbols() -> list[str]:
    """The printable characters that stand for bytes, in the order of their ids: those that are printable stand for themselves."""
    themselves = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in themselves]
    return [chr(byte) for byte in themselves] + [chr(256 + index) for index in range(len(others))]


def clip_merges() -> list[str]:
    package = importlib.util.find_spec("open_clip")  # its modules want more packages than we install
    if package is None:
        raise SystemExit("prepare_clip_vocabulary: the package open_clip_torch is not installed; run pip install --no-deps -r launch/requirements-clip.txt")
    with gzip.open(Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz"), "rt", encoding="utf-8") as file:
        return file.read().split("\n")[1:MERGES + 1]


def write_folder(folder: Path, merges: list[str], **settings) -> Path:
    """`settings`: FILE_NAME without .json to its content, such as tokenizer_config={…}."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = byte_symbols()
    tokens += [symbol + "</w>" for symbol in tokens] + [merge.replace(" ", "") for merge in merges] + list(SPECIAL)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    for name, content in settings.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where vocab.json and merges.txt go")
    write_folder(parser.parse_args().output, clip_merges())


if __name__ == "__main__":
    main()
