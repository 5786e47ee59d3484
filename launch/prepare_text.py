#!/usr/bin/env python3
"""Turns text into a token set for `dormer train`: text files, folders, JSONL and manual pages become one HDF5 file.

Examples:
  launch/prepare_text.py --tokenizer models/smollm2-135m --output data/train.h5 notes/ book.txt.gz
  launch/prepare_text.py --tokenizer models/smollm2-135m --output data/train.h5 --validation-output data/validation.h5 \\
      --validation-every 40 --field body posts.jsonl
  launch/prepare_text.py --tokenizer models/smollm2-135m --output data/train.h5 --manual-section 2
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

from tokenizers import Tokenizer  # noqa: E402

from text_sources import PIECE, BadInput, Piece, files_of, read_file, read_manual  # noqa: E402
from tokenizer_identity import tokenizer_sha256, vocabulary_size  # noqa: E402
from tokens_file import TokensFile  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, metavar="PATH", help="text file, JSONL file (either also as .gz), or a folder of them")
    parser.add_argument("--manual-section", metavar="N", help="the system's manual pages of section N")
    parser.add_argument("--tokenizer", required=True, type=Path, metavar="FOLDER", help="model folder with tokenizer.json, or such a file")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.h5", help="where the training tokens go")
    parser.add_argument("--validation-output", type=Path, metavar="FILE.h5", help="where the held-out documents go (default: validation.h5 beside --output)")
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--validation-every", type=int, metavar="N", help="hold out every Nth document")
    held_out.add_argument("--validation-fraction", type=float, metavar="F", help="hold out each document with probability F, by its position and --seed")
    parser.add_argument("--seed", type=int, default=0, help="for --validation-fraction (default 0)")
    parser.add_argument("--field", default="text", help='JSONL field that holds the text (default "text")')
    parser.add_argument("--separator", metavar="TOKEN", help="token that ends each document (default: the tokenizer's end-of-sequence token)")
    parser.add_argument("--cache", type=Path, default=Path("cache/manual"), metavar="FOLDER", help="where fetched manual pages are kept (default cache/manual)")
    arguments = parser.parse_args()
    if not arguments.sources and not arguments.manual_section:
        parser.error("name at least one file or folder, or --manual-section")
    if arguments.validation_every is not None and arguments.validation_every < 2:
        parser.error("--validation-every must be at least 2")
    if arguments.validation_fraction is not None and not 0.0 < arguments.validation_fraction < 1.0:
        parser.error("--validation-fraction must lie between 0 and 1")
    arguments.validation_output = arguments.validation_output or arguments.output.with_name("validation.h5")
    if arguments.validation_output.absolute() == arguments.output.absolute():
        parser.error("--output and --validation-output name the same file")
    return arguments


def tokenizer_file(path: Path) -> Path:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise BadInput(f"{file}: no such file; --tokenizer takes a model folder that holds tokenizer.json")
    return file


def separator_id(tokenizer: Tokenizer, folder: Path, token: str) -> int:
    """The token that ends a document: the one asked for, else the end of sequence that the model's folder names."""
    if token is None:
        settings = folder / "tokenizer_config.json"
        named = json.loads(settings.read_text()).get("eos_token") if settings.is_file() else None
        token = named.get("content") if isinstance(named, dict) else named
    if token is None:
        settings = folder / "config.json"
        number = json.loads(settings.read_text()).get("eos_token_id") if settings.is_file() else None
        number = number[0] if isinstance(number, list) and number else number
        token = tokenizer.id_to_token(number) if isinstance(number, int) else None
    if token is None:
        raise BadInput(f"{folder}: no end-of-sequence token is named there; name one with --separator")
    number = tokenizer.token_to_id(token)
    if number is None:
        raise BadInput(f'{folder}: the tokenizer has no token "{token}"; name another with --separator')
    return number


def is_held_out(index: int, arguments: argparse.Namespace) -> bool:
    """Decides from the document's position alone, so that a stream needs no second pass."""
    if arguments.validation_every:
        return index % arguments.validation_every == arguments.validation_every - 1
    if arguments.validation_fraction:
        digest = hashlib.sha256(f"{arguments.seed}:{index}".encode()).digest()
        return int.from_bytes(digest[:8], "little") < arguments.validation_fraction * 2.0**64
    return False


class Progress:
    """One line: rewritten on a terminal, and printed every ten seconds elsewhere."""

    def __init__(self):
        self.begin = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def show(self, documents: int, tokens: int, final: bool = False) -> None:
        now = time.monotonic()
        if not final and now - self.last < (0.5 if self.terminal else 10.0):
            return
        self.last = now
        rate = tokens / max(now - self.begin, 1e-9)
        line = f"{documents:,} documents, {tokens:,} tokens, {rate:,.0f} tokens/s, {now - self.begin:.0f} s"
        print(f"\r{line}\033[K" if self.terminal else line, end="\n" if final or not self.terminal else "", file=sys.stderr, flush=True)


class Preparation:
    """Tokenizes a stream of pieces in batches and deals the documents to the two files."""

    def __init__(self, tokenizer: Tokenizer, separator: int, train: TokensFile, validation: TokensFile, held_out):
        self.tokenizer, self.separator = tokenizer, separator
        self.train, self.validation, self.held_out = train, validation, held_out
        self.index, self.started, self.empty, self.withheld = 0, False, 0, 0
        self.progress = Progress()

    def take(self, pieces) -> dict:
        """Writes all documents of one source; returns its counts."""
        before = self.index, self._written()
        characters = 0
        pieces = iter(pieces)
        while batch := self._batch(pieces):
            characters += sum(len(piece.text) for piece in batch)
            encoded = self.tokenizer.encode_batch_fast([piece.text for piece in batch], add_special_tokens=False)
            for piece, encoding in zip(batch, encoded):
                self._add(encoding.ids, piece)
            self.progress.show(self.index, self._written())
        return {"documents": self.index - before[0], "tokens": self._written() - before[1], "characters": characters}

    def _batch(self, pieces) -> list:
        batch, size = [], 0
        for piece in itertools.islice(pieces, 4096):
            batch.append(piece)
            size += len(piece.text)
            if size >= PIECE:
                break
        return batch

    def _add(self, ids: list, piece: Piece) -> None:
        if piece.withheld:
            self.index += 1
            self.withheld += 1
            return
        file = self.validation if self.held_out(self.index) else self.train
        if ids:
            file.append(ids)
            self.started = True
        if not piece.last:
            return
        if self.started:
            file.append([self.separator])
            file.end_document()
            self.index += 1
        else:
            self.empty += 1
        self.started = False

    def _written(self) -> int:
        return self.train.tokens + (self.validation.tokens if self.validation else 0)


def sources_of(arguments: argparse.Namespace, work: Preparation):
    """Pairs of a name and its pieces, in the order of the command line; checks that all exist before any is read."""
    named = [(path, files_of(path)) for path in arguments.sources]
    for path, files in named:
        yield str(path), itertools.chain.from_iterable(read_file(file, arguments.field) for file in files)
    if arguments.manual_section:
        first = work.index
        held_out = (lambda position: work.held_out(first + position)) if work.validation else (lambda position: False)
        yield f"manual section {arguments.manual_section}", read_manual(arguments.manual_section, arguments.cache, held_out)


def prepare(arguments: argparse.Namespace) -> None:
    path = tokenizer_file(arguments.tokenizer)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    separator = separator_id(tokenizer, path.parent, arguments.separator)
    splits = bool(arguments.validation_every or arguments.validation_fraction)
    files = [TokensFile(arguments.output)]
    try:
        if splits:
            files.append(TokensFile(arguments.validation_output))
        work = Preparation(tokenizer, separator, files[0], files[1] if splits else None, lambda index: is_held_out(index, arguments))
        counts = [{"source": name, **work.take(pieces)} for name, pieces in sources_of(arguments, work)]
        work.progress.show(work.index, work._written(), final=True)
        for file, what in zip(files, ("for training", "held out")):
            if file.documents == 0:
                raise BadInput(f"{file.path}: no document {what} among {work.index}; give more text or another --validation-every or --validation-fraction")
        attributes = {"tokenizer_sha256": tokenizer_sha256(path), "vocab_size": vocabulary_size(path), "separator": separator}
        for file, what in reversed(list(zip(files, ("training", "validation")))):
            file.finish({**attributes, "part": what}, counts)
            print(f"{file.path}: {file.documents:,} documents, {file.tokens:,} tokens for {what}")
        if work.withheld:
            print(f"{work.withheld:,} other names of held-out documents were left out of the training")
        if work.empty:
            print(f"{work.empty:,} empty documents were left out")
    finally:
        for file in files:
            file.discard()


def main() -> int:
    arguments = parse_arguments()
    try:
        prepare(arguments)
    except BadInput as error:
        print(f"prepare_text: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"prepare_text: {error.filename or arguments.output}: {error.strerror}; check space and permissions there", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
