"""Writes a token set (docs/token_dataset.md): streams to plain files beside the target, then to contiguous HDF5, then renames."""

import json
import os
from pathlib import Path

import h5py
import numpy

FORMAT = "dormer.tokens/1"
_BLOCK = 1 << 22  # tokens copied at a time into the finished file


class TokensFile:
    """One HDF5 token set in the making. Nothing stands under the final name before `finish`; `discard` leaves no trace."""

    def __init__(self, path: Path):
        self.path = path
        self.documents = 0
        self.tokens = 0
        self.counted = 0  # tokens that the loss counts
        path.parent.mkdir(parents=True, exist_ok=True)
        stem = path.parent / f".{path.name}.partial-{os.getpid()}"
        self._paths = {part: Path(f"{stem}.{part}") for part in ("tokens", "offsets", "loss_mask", "h5")}
        self._tokens = open(self._paths["tokens"], "wb")
        self._offsets = open(self._paths["offsets"], "wb")
        self._offsets.write(numpy.uint64(0).tobytes())
        self._loss_mask = open(self._paths["loss_mask"], "wb")

    def append(self, ids, counts=None) -> None:
        """Adds tokens to the document that is open; `counts` says of each whether the loss counts it (None: all count)."""
        self._tokens.write(numpy.asarray(ids, dtype=numpy.uint32).tobytes())
        mask = numpy.ones(len(ids), dtype=numpy.uint8) if counts is None else numpy.asarray(counts, dtype=numpy.uint8)
        self._loss_mask.write(mask.tobytes())
        self.tokens += len(ids)
        self.counted += int(mask.sum())

    def end_document(self) -> None:
        self.documents += 1
        self._offsets.write(numpy.uint64(self.tokens).tobytes())

    def finish(self, attributes: dict, sources: list, masked: bool = False) -> None:
        """Writes the HDF5 file (with the loss mask where it is `masked`), forces it to disk and renames it to its final name."""
        self._close()
        with h5py.File(self._paths["h5"], "w") as file:
            self._copy(file, "tokens", numpy.uint32, self.tokens)
            self._copy(file, "offsets", numpy.uint64, self.documents + 1)
            if masked:
                self._copy(file, "loss_mask", numpy.uint8, self.tokens)
            file.create_dataset("sources", data=numpy.bytes_(json.dumps(sources)))
            everything = {"format": FORMAT, "documents": self.documents, "token_count": self.tokens, **attributes}
            for name, value in everything.items():
                file.attrs[name] = numpy.bytes_(value) if isinstance(value, str) else numpy.int64(value)
        with open(self._paths["h5"], "rb") as file:
            os.fsync(file.fileno())
        os.replace(self._paths["h5"], self.path)
        self.discard()

    def discard(self) -> None:
        """Removes whatever is unfinished."""
        self._close()
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def _close(self) -> None:
        for file in (self._tokens, self._offsets, self._loss_mask):
            file.close()

    def _copy(self, file: h5py.File, name: str, dtype, count: int) -> None:
        dataset = file.create_dataset(name, shape=(count,), dtype=dtype)
        with open(self._paths[name], "rb") as raw:
            for begin in range(0, count, _BLOCK):
                block = numpy.fromfile(raw, dtype=dtype, count=min(_BLOCK, count - begin))
                dataset[begin : begin + len(block)] = block
