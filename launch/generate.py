#!/usr/bin/env python3
"""Continues text with `dormer generate`: this script only turns text to tokens and back.

Examples:
  launch/generate.py --model models/smollm2-135m --prompt "The capital of France is"
  launch/generate.py --model models/smollm2-135m --adapter runs/quickstart/export/peft --prompt "NAME" --max-new-tokens 80
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer

PROGRAM = Path(__file__).resolve().parents[1] / "build/release/bin/dormer"


def parse_arguments() -> tuple:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="Other options go to dormer generate as they are."
    )
    parser.add_argument("--model", required=True, type=Path, metavar="FOLDER", help="model folder with tokenizer.json")
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="PEFT folder of an adapter (default: the model alone)")
    parser.add_argument("--prompt", help="text to continue (default: standard input)")
    parser.add_argument("--program", type=Path, default=Path(os.environ.get("DORMER_PROGRAM", PROGRAM)), help="dormer (default: build/release/bin/dormer)")
    return parser.parse_known_args()


def main() -> int:
    arguments, others = parse_arguments()
    file = arguments.model / "tokenizer.json"
    if not file.is_file():
        sys.exit(f"generate: {file}: no such file; --model takes a folder that holds the tokenizer")
    if not arguments.program.is_file():
        sys.exit(f"generate: {arguments.program}: no such program; run launch/setup.sh, or name it with --program")
    tokenizer = Tokenizer.from_file(str(file))
    prompt = sys.stdin.read() if arguments.prompt is None else arguments.prompt
    command = [arguments.program, "generate", "--model", arguments.model, "--tokens", ",".join(map(str, tokenizer.encode(prompt).ids)), *others]
    if arguments.adapter:
        command += ["--adapter", arguments.adapter]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        new = [int(word) for word in done.stdout.replace(",", " ").split()]
        print(prompt + tokenizer.decode(new))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
