#!/usr/bin/env python3
"""Turns text and chats into a token set for `dormer train`: files, folders, JSONL, parquet and manual pages become one HDF5 file.

Examples:
  launch/prepare_text.py --tokenizer models/smollm2-135m --output data/train.h5 notes/ book.txt.gz
  launch/prepare_text.py --tokenizer models/smollm2-135m --output data/train.h5 --validation-output data/validation.h5 \\
      --validation-every 40 --field body posts.jsonl
  launch/prepare_text.py --tokenizer models/smollm2-135m --output data/train.h5 --manual-section 2
  launch/prepare_text.py --tokenizer models/smollm2-135m --output data/train.h5 --show 3 --sequence-length 1024 --too-long drop \\
      --source chats.jsonl.zst:2 --source more.parquet:0.25

Chats are recognized by their fields: messages, conversations (ShareGPT), instruction and output (Alpaca), prompt and completion.
They are written by the model's own chat template, and the loss counts the assistant's turns alone.
"""

import argparse
import itertools
import json
import os
import sys
from datetime import datetime
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

from tokenizers import Tokenizer  # noqa: E402

from chat_records import COLUMNS, Columns  # noqa: E402
from preparation import Length, Preparation, Source, chance  # noqa: E402
from record_pieces import ChatPolicy, RecordPieces  # noqa: E402
from show_rows import Rows  # noqa: E402
from source_files import BadInput, files_of  # noqa: E402
from text_sources import read_manual  # noqa: E402
from tokenizer_identity import tokenizer_sha256, vocabulary_size  # noqa: E402
from tokens_file import TokensFile  # noqa: E402


def weighted(text: str) -> tuple:
    """PATH:WEIGHT, or a path alone."""
    path, colon, weight = text.rpartition(":")
    try:
        number = float(weight)
    except ValueError:
        return Path(text), 1.0
    if not colon or Path(text).exists():
        return Path(text), 1.0
    if not 0.0 < number <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text}: a weight must be above 0 and at most 1000")
    return Path(path), number


def mapping(text: str) -> dict:
    """NAME=COLUMN,NAME=COLUMN…"""
    pairs = dict(pair.partition("=")[::2] for pair in text.split(","))
    for name, column in pairs.items():
        if name not in COLUMNS or not column:
            raise argparse.ArgumentTypeError(f'"{name}={column}": write NAME=COLUMN with a NAME of {", ".join(COLUMNS)}')
    return pairs


def option(text: str) -> tuple:
    """NAME=VALUE for a template; the value may be JSON."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f'"{text}": write NAME=VALUE')
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d")
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}": write a day as 2026-01-31') from None


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}": a whole number of at least 1 is needed')
    return int(text)


def add_chat_arguments(parser: argparse.ArgumentParser) -> None:
    chats = parser.add_argument_group("chats")
    chats.add_argument("--columns", type=mapping, default={}, metavar="NAME=COLUMN,…", help="what the fields of chats are called in the files, as messages=dialog,role=speaker,content=said")
    chats.add_argument("--chat-template", metavar="FILE", help="Jinja template in place of the model's own; plain: the turns as they are, each reply ended by the end of sequence")
    chats.add_argument("--template-option", type=option, action="append", default=[], metavar="NAME=VALUE", help="a variable for the template, as enable_thinking=false")
    chats.add_argument("--date", type=day, metavar="DAY", help="what templates take for today, as 2026-01-31 (default: today)")
    chats.add_argument("--rewriting-templates", choices=("split", "error"), default="split", help="where a template rewrites earlier turns: one document per reply (default), or an error")
    chats.add_argument("--bad-chats", choices=("error", "drop"), default="error", help="chats without a reply, with roles out of order and the like: an error (default), or leave them out and count them")
    chats.add_argument("--sequence-length", type=positive, metavar="N", help="the training's data.sequence_length, for --too-long")
    chats.add_argument("--too-long", choices=("truncate", "drop", "error"), default="truncate", help="what becomes of chats longer than --sequence-length (default truncate)")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, metavar="PATH", help="text, JSONL or JSON file (also as .gz or .zst), parquet or Arrow file, or a folder of them")
    parser.add_argument("--source", action="append", default=[], type=weighted, metavar="PATH:WEIGHT", help="the same with a weight: 2 takes everything twice, 0.25 a quarter, chosen by --seed")
    parser.add_argument("--manual-section", metavar="N", help="the system's manual pages of section N")
    parser.add_argument("--tokenizer", required=True, type=Path, metavar="FOLDER", help="model folder with tokenizer.json, or such a file")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.h5", help="where the training tokens go")
    parser.add_argument("--validation-output", type=Path, metavar="FILE.h5", help="where the held-out documents go (default: validation.h5 beside --output)")
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--validation-every", type=int, metavar="N", help="hold out every Nth record (document or conversation)")
    held_out.add_argument("--validation-fraction", type=float, metavar="F", help="hold out each record with probability F, by its position and --seed")
    parser.add_argument("--seed", type=int, default=0, help="for --validation-fraction and weights (default 0)")
    parser.add_argument("--field", help='field or column that holds the text (default "text"); when given, nothing is taken for a chat')
    parser.add_argument("--separator", metavar="TOKEN", help="token that ends each text (default: the tokenizer's end-of-sequence token)")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N rows with the trained tokens coloured, or in [[ ]] where there is no terminal or NO_COLOR is set")
    parser.add_argument("--cache", type=Path, default=Path("cache/manual"), metavar="FOLDER", help="where fetched manual pages are kept (default cache/manual)")
    add_chat_arguments(parser)
    arguments = parser.parse_args()
    arguments.source = [(path, 1.0) for path in arguments.sources] + arguments.source
    if not arguments.source and not arguments.manual_section:
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
    """Decides from the record's position alone, so that a stream needs no second pass."""
    if arguments.validation_every:
        return index % arguments.validation_every == arguments.validation_every - 1
    if arguments.validation_fraction:
        return chance(arguments.seed, index) < arguments.validation_fraction
    return False


def record_pieces(arguments: argparse.Namespace, tokenizer: Tokenizer, folder: Path) -> RecordPieces:
    columns = {**arguments.columns, **({"text": arguments.field} if arguments.field else {})}
    policy = ChatPolicy(
        template=arguments.chat_template,
        options=dict(arguments.template_option),
        now=arguments.date or datetime.now(),
        split_rewritten=arguments.rewriting_templates == "split",
        drop_bad=arguments.bad_chats == "drop",
    )
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    return RecordPieces(folder, special, Columns(columns), policy)


def sources_of(arguments: argparse.Namespace, records: RecordPieces, held_out) -> list:
    """The sources in the order of the command line; checks that all exist before any is read."""
    sources = []
    for path, weight in arguments.source:
        files = files_of(path)

        def pieces(_, again, files=files, alone=path.is_file()):
            return itertools.chain.from_iterable(records.of_file(file, alone, again) for file in files)

        sources.append(Source(str(path), pieces, weight))
    if arguments.manual_section:
        section = arguments.manual_section
        sources.append(Source(f"manual section {section}", lambda first, again: read_manual(section, arguments.cache, lambda position: held_out(first + position))))
    return sources


def report(work: Preparation, records: RecordPieces, files: list) -> None:
    """Says what was written and what was not."""
    for file, what in files:
        trained = f", {file.counted:,} of them trained" if work.masked else ""
        print(f"{file.path}: {file.documents:,} documents, {file.tokens:,} tokens{trained} for {what}")
    if work.withheld:
        print(f"{work.withheld:,} other names of held-out documents were left out of the training")
    if work.empty:
        print(f"{work.empty:,} empty documents were left out")
    if records.split:
        print(f"{records.split:,} conversations were split into a document per reply, because the template rewrites earlier turns")
    if work.too_long:
        limit, shortened = work.length.limit, work.too_long - work.unreached
        print(f"{work.too_long:,} rows of chats are longer than {limit:,} tokens: {shortened:,} were truncated, {work.unreached:,} left out")
    if records.dropped:
        print(f"{records.dropped:,} bad chats were left out, the first: {records.first_dropped}")


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
        records = record_pieces(arguments, tokenizer, path.parent)
        length = Length(arguments.sequence_length, arguments.too_long)
        rows = Rows(arguments.show) if arguments.show > 0 else None
        work = Preparation(tokenizer, separator, files[0], files[1] if splits else None, lambda index: is_held_out(index, arguments), length, arguments.seed, rows)
        counts = [work.take(source) for source in sources_of(arguments, records, work.is_held_out)]
        work.progress.show(work.documents, work.written(), final=True)
        parts = list(zip(files, ("training", "validation")))
        for file, part in parts:
            if file.documents == 0:
                what = "for training" if part == "training" else "held out"
                dropped = f" ({records.dropped:,} bad chats were left out, the first: {records.first_dropped})" if records.dropped else ""
                raise BadInput(f"{file.path}: no document {what} among {work.documents}{dropped}; give more text or another --validation-every or --validation-fraction")
        attributes = {"tokenizer_sha256": tokenizer_sha256(path), "vocab_size": vocabulary_size(path), "separator": separator, **records.attributes()}
        for file, part in reversed(parts):
            file.finish({**attributes, "part": part}, counts, work.masked)
        report(work, records, parts)
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
