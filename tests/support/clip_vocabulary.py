"""CLIP's vocabulary as a diffusers folder has it: vocab.json and merges.txt, made of the merges that the package open_clip_torch carries.

    clip_vocabulary.py FOLDER [MERGES]     MERGES: only so many, for small folders
"""

import gzip
import importlib.util
import json
import sys
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


if __name__ == "__main__":
    write_folder(Path(sys.argv[1]), clip_merges()[:int(sys.argv[2]) if len(sys.argv) > 2 else MERGES])
