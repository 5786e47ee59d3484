"""The files that a source names, opened whatever their packing, and read as records with their places."""

import gzip
import io
import json
import re
from pathlib import Path
from typing import Iterator, Tuple

from zstandard_file import ZstandardFile

TEXT_SUFFIXES = (".txt", ".md", ".rst", ".text")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".parquet", ".arrow")
FOLDER_SUFFIXES = TEXT_SUFFIXES + JSONL_SUFFIXES + TABLE_SUFFIXES
PACKINGS = (".gz", ".zst")
_ROWS = 256  # of a table at a time
_BLOCK = 1 << 20  # characters of a JSON array read at a time
_LARGEST_RECORD = 1 << 26  # characters
_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")


class BadInput(Exception):
    """One line that names the thing, the place and the remedy."""


def unpacked_name(path: Path) -> str:
    name = path.name.lower()
    return next((name.removesuffix(packing) for packing in PACKINGS if name.endswith(packing)), name)


def kind_of(path: Path) -> str:
    """What a file holds, by its suffix: text, jsonl, json, parquet or arrow."""
    name = unpacked_name(path)
    if name.endswith(JSONL_SUFFIXES):
        return "jsonl"
    if name.endswith(".json"):
        return "json"
    return name.rsplit(".", 1)[1] if name.endswith(TABLE_SUFFIXES) else "text"


def needed(module: str, what: Path):
    """Imports what only some files need, or says how to get it."""
    try:
        return __import__(module, fromlist=["_"])
    except ImportError:
        package = module.split(".")[0]
        raise BadInput(f"{what}: reading it needs the Python package {package}; .venv/bin/python -m pip install -r launch/requirements-data.txt") from None


def open_source(path: Path):
    """The unpacked bytes of a file."""
    name = path.name.lower()
    if name.endswith(".gz"):
        return gzip.open(path, "rb")
    if name.endswith(".zst"):
        return io.BufferedReader(ZstandardFile(needed("zstandard", path), path), _BLOCK)
    return open(path, "rb")


def files_of(path: Path) -> list:
    """The files that a source names: itself, or what a folder holds (sorted, hidden ones left out)."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadInput(f"{path}: no such file or folder")
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and unpacked_name(file).endswith(FOLDER_SUFFIXES) and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        wanted, packed = ", ".join(FOLDER_SUFFIXES), " or ".join(PACKINGS)
        raise BadInput(f"{path}: the folder holds no {wanted} (nor these with {packed}); name the files one by one if they are called otherwise")
    return found


def _text_lines(path: Path) -> Iterator[Tuple[int, str]]:
    with open_source(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise BadInput(f"{path}:{number}: not UTF-8 at byte {error.start} of the line; convert the file first, as with iconv -t utf-8") from None


def _json_lines(path: Path) -> Iterator[Tuple[str, object]]:
    for number, line in _text_lines(path):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}:{number}: not a JSON value ({error}); every line must be one object") from None


class _Array:
    """Reads a JSON array element by element, so that memory grows with the largest element alone."""

    def __init__(self, path: Path, file):
        self.path, self.file = path, file
        self.text, self.position, self.ended = "", 0, False
        self._line, self._counted = 1, 0  # the line at the position up to which line breaks are counted

    def _more(self) -> None:
        """Drops what is read and appends a block, larger ones to what is long already."""
        self.place()
        self.text, self.position, self._counted = self.text[self.position :], 0, 0
        try:
            block = self.file.read(max(_BLOCK, len(self.text)))
        except UnicodeDecodeError:
            raise BadInput(f"{self.path}:{self.place()}: not UTF-8 after this line; convert the file first, as with iconv -t utf-8") from None
        self.text, self.ended = self.text + block, not block

    def place(self) -> int:
        """The line that is being read."""
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def next_mark(self) -> str:
        """The next character that is no blank, left in place; empty at the end."""
        while True:
            self.position = _BLANKS.match(self.text, self.position).end()
            if self.position < len(self.text):
                return self.text[self.position]
            if self.ended:
                return ""
            self._more()

    def element(self) -> object:
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
                if end < len(self.text) or self.ended:
                    self.position = end
                    return value
            except (ValueError, RecursionError) as error:
                if self.ended or len(self.text) - self.position > _LARGEST_RECORD:
                    reason = str(error).split(": line")[0]
                    raise BadInput(f"{self.path}:{self.place()}: the element that begins here is no JSON value ({reason})") from None
            self._more()


def _json_array(path: Path, file) -> Iterator[Tuple[str, object]]:
    array = _Array(path, file)
    array.next_mark()
    array.position += 1
    while (mark := array.next_mark()) != "]":
        if not mark:
            raise BadInput(f"{path}:{array.place()}: the array is not closed; the file may be cut off")
        place = f"{path}:{array.place()}"
        yield place, array.element()
        mark = array.next_mark()
        if mark == ",":
            array.position += 1
        elif mark not in ("]", ""):
            raise BadInput(f"{path}:{array.place()}: a comma or the array's end must stand here")


def _json(path: Path) -> Iterator[Tuple[str, object]]:
    """A .json file: an array of records, or (as many are) one record a line."""
    with io.TextIOWrapper(open_source(path), encoding="utf-8-sig") as file:
        is_array = _Array(path, file).next_mark() == "["
    if not is_array:
        yield from _json_lines(path)
        return
    with io.TextIOWrapper(open_source(path), encoding="utf-8-sig") as file:
        yield from _json_array(path, file)


def _parquet_batches(path: Path):
    file = needed("pyarrow.parquet", path).ParquetFile(path)
    yield file.schema_arrow.names, ()
    for batch in file.iter_batches(batch_size=_ROWS):
        yield file.schema_arrow.names, batch.to_pylist()


def _arrow_batches(path: Path):
    """Both forms of Arrow's files: with a directory at the end, and the stream that `datasets` writes."""
    pyarrow = needed("pyarrow", path)
    ipc = needed("pyarrow.ipc", path)
    with pyarrow.memory_map(str(path)) as raw:
        try:
            file = ipc.open_file(raw)
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
        except pyarrow.ArrowInvalid:
            raw.seek(0)
            file = batches = ipc.open_stream(raw)
        yield file.schema.names, ()
        for batch in batches:
            for begin in range(0, batch.num_rows, _ROWS):
                yield file.schema.names, batch.slice(begin, _ROWS).to_pylist()


def _table(path: Path, kind: str) -> Iterator[Tuple[str, object]]:
    pyarrow = needed("pyarrow", path)
    if path.name.lower().endswith(PACKINGS):
        raise BadInput(f"{path}: {kind} files compress inside; unpack it first")
    number = 0
    try:
        for _, rows in _parquet_batches(path) if kind == "parquet" else _arrow_batches(path):
            for row in rows:
                number += 1
                yield f"{path}:{number}", {name: value for name, value in row.items() if value is not None}
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path}: cannot be read as {kind} after row {number}: {str(error).splitlines()[0]}") from None


def columns_of(path: Path) -> list:
    """The column names of a parquet or Arrow file, without reading its rows."""
    pyarrow = needed("pyarrow", path)
    batches = _parquet_batches(path) if kind_of(path) == "parquet" else _arrow_batches(path)
    try:
        return next(batches)[0]
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path}: cannot be read as {kind_of(path)}: {str(error).splitlines()[0]}") from None
    finally:
        batches.close()


def read_records(path: Path) -> Iterator[Tuple[str, object]]:
    """Pairs of a place (file:line, or file:row of a table) and the record there."""
    kind = kind_of(path)
    if kind == "jsonl":
        yield from _json_lines(path)
    elif kind == "json":
        yield from _json(path)
    else:
        yield from _table(path, kind)
