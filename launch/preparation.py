"""Tokenizes a stream of pieces in batches and deals the documents to the files of training and validation."""

import hashlib
import math
import sys
import time
from dataclasses import dataclass
from typing import Callable, Iterator, Optional

import numpy
from tokenizers import Tokenizer

from source_files import BadInput
from text_sources import PIECE, Piece
from tokens_file import TokensFile


@dataclass
class Source:
    """One source: `open(first, again)` gives its pieces from the beginning; `first` records came before it."""

    name: str
    open: Callable
    weight: float = 1.0


@dataclass
class Length:
    """What becomes of chats longer than `limit` tokens (None: any length will do): truncate, drop or error."""

    limit: Optional[int] = None
    policy: str = "truncate"


def chance(*words) -> float:
    """A number in [0, 1) that depends on the words alone."""
    digest = hashlib.sha256(":".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "little") / 2.0**64


def counted_tokens(offsets: numpy.ndarray, spans: list) -> numpy.ndarray:
    """Which tokens count: those that begin inside one of the character spans, which rise and do not overlap."""
    edges = numpy.asarray(spans, dtype=numpy.int64).reshape(-1)
    return (numpy.searchsorted(edges, offsets[:, 0], side="right") % 2).astype(numpy.uint8)


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
    """The work on one pair of files. `held_out` decides by a record's position, so that a stream needs no second pass."""

    def __init__(self, tokenizer: Tokenizer, separator: int, train: TokensFile, validation, held_out, length=Length(), seed=0, rows=None):
        tokenizer.post_processor = None  # it would add special tokens, and trim blanks from the offsets
        self.tokenizer, self.separator = tokenizer, separator
        self.train, self.validation, self.held_out = train, validation, held_out
        self.length, self.seed, self.rows = length, seed, rows
        self.index = 0  # records read
        self.documents = self.empty = self.withheld = 0
        self.too_long = self.unreached = 0  # chats beyond the limit, and those of them that were left out
        self.masked = self._started = False
        self._sources = 0
        self.progress = Progress()

    def take(self, source: Source) -> dict:
        """Writes all documents of one source, as often as its weight says; returns its counts."""
        before = self.documents, self.written()
        first, characters = self.index, 0
        for copy in range(math.ceil(source.weight)):
            self.index = first
            pieces = self._chosen(source.open(first, copy > 0), copy, min(1.0, source.weight - copy))
            while batch := self._batch(pieces):
                characters += sum(len(piece.text) for piece, _ in batch)
                for (piece, index), encoding in zip(batch, self._encode([piece for piece, _ in batch])):
                    self._add(piece, encoding, index)
                self.progress.show(self.documents, self.written())
        self._sources += 1
        counts = {"source": source.name, "documents": self.documents - before[0], "tokens": self.written() - before[1], "characters": characters}
        return counts if source.weight == 1.0 else {**counts, "weight": source.weight}

    def written(self) -> int:
        return self.train.tokens + (self.validation.tokens if self.validation else 0)

    def _chosen(self, pieces, copy: int, share: float) -> Iterator:
        """Pairs of a piece and its record's position: a share of the records by chance, and no second copy of held-out ones."""
        taken = None
        for piece in pieces:
            if taken is None:
                taken = share == 1.0 or chance(self.seed, self._sources, self.index, copy) < share
                taken = taken and not (copy and self.is_held_out(self.index))
            if taken:
                yield piece, self.index
            if piece.last and piece.ends_record:
                self.index += 1
                taken = None

    def is_held_out(self, index: int) -> bool:
        return self.validation is not None and self.held_out(index)

    def _batch(self, pieces) -> list:
        batch, size = [], 0
        for piece, index in pieces:
            batch.append((piece, index))
            size += len(piece.text) * (1 if piece.trained is None else 4)  # offsets take room
            if size >= PIECE or len(batch) == 4096:
                break
        return batch

    def _encode(self, pieces: list) -> list:
        with_offsets = (self.rows is not None and self.rows.wanted) or any(piece.trained is not None for piece in pieces)
        encode = self.tokenizer.encode_batch if with_offsets else self.tokenizer.encode_batch_fast
        try:
            return encode([piece.text for piece in pieces], add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            for piece in pieces:
                if any("\ud800" <= character <= "\udfff" for character in piece.text):
                    raise BadInput(f"{piece.place}: holds half of a character (a lone \\ud800 to \\udfff); mend the escape or take the text out") from None
            raise

    def _add(self, piece: Piece, encoding, index: int) -> None:
        if piece.withheld:
            self.documents += 1
            self.withheld += 1
            return
        file = self.validation if self.is_held_out(index) else self.train
        if piece.trained is not None:
            self._add_chat(piece, encoding, file)
            return
        ids = encoding.ids
        if ids:
            if self.rows and not self._started:
                self.rows.show(piece.text, encoding, None)
            file.append(ids)
            self._started = True
        if not piece.last:
            return
        if self._started:
            file.append([self.separator])
            file.end_document()
            self.documents += 1
        else:
            self.empty += 1
        self._started = False

    def _add_chat(self, piece: Piece, encoding, file: TokensFile) -> None:
        ids = numpy.asarray(encoding.ids, dtype=numpy.uint32)
        counts = counted_tokens(numpy.asarray(encoding.offsets, dtype=numpy.int64).reshape(-1, 2), piece.trained)
        if self.length.limit and len(ids) > self.length.limit:
            if self.length.policy == "error":
                raise BadInput(
                    f"{piece.place}: a row of {len(ids):,} tokens, {self.length.limit:,} fit (--sequence-length); shorten it, or choose --too-long truncate or drop"
                )
            self.too_long += 1
            ids, counts = ids[: self.length.limit], counts[: self.length.limit]
            if self.length.policy == "drop" or not counts.any():
                self.unreached += 1
                return
        self.masked = True
        if self.rows:
            self.rows.show(piece.text, encoding, counts)
        file.append(ids, counts)
        file.end_document()
        self.documents += 1
