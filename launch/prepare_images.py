#!/usr/bin/env python3
"""Unpacks sets of captioned images, tars of WebDataset and parquet files, into a folder that a concept of data.concepts names: 00000042.jpg with its
caption in 00000042.txt, ten thousand images a folder below. Images keep their bytes.

A tar's sample is what has one name up to the first dot: an image, and its caption in .txt, .caption or a field of .json. A row of parquet has an image
(bytes, alone or as Hugging Face's Image) and its caption, or a list of them, in other columns. Parquet needs pyarrow (launch/requirements-data.txt).

Examples:
  launch/prepare_images.py shards/*.tar --output data/pictures
  launch/prepare_images.py train-00000-of-00002.parquet train-00001-of-00002.parquet --caption en_text --validation-every 50 --output data/pictures
"""

import argparse
import json
import os
import shutil
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional

from source_files import BadInput, needed

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "avif", "heic", "tif", "tiff", "bmp", "gif", "jxl")
CAPTION_SUFFIXES = ("txt", "caption")
CAPTION_FIELDS = ("caption", "text", "prompt", "captions", "texts")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LARGEST_FILE = 1 << 30  # bytes of one image or caption
IMAGES_OF_FOLDER = 10_000
ROWS = 16  # of a parquet file at a time
NAMED = 10  # samples that are left out, by name; of others the number


@dataclass
class Sample:
    """An image with its captions; either may be missing."""

    place: str
    image: Optional[bytes]
    captions: Optional[List[str]]


def kind_of_image(data: bytes) -> Optional[str]:
    """The suffix that a file of these bytes has, by its first ones."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return "tif"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if data[:2] == b"BM":
        return "bmp"
    if data[4:8] == b"ftyp":
        return "avif" if data[8:12] in (b"avif", b"avis") else "heic"
    if data[:2] == b"\xff\x0a" or data[:12] == b"\x00\x00\x00\x0cJXL \r\n\x87\n":
        return "jxl"
    return None


def captions_of(value, place: str) -> Optional[List[str]]:
    """One caption or several, each in a line of its own."""
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise BadInput(f"{place}: a caption is a text or a list of texts; name another field with --caption")
    return [" ".join(one.split()) for one in values]


def caption_in(fields: dict, wanted: Optional[str], place: str) -> Optional[List[str]]:
    """The caption among the fields of a JSON object or of a row."""
    if wanted is not None:
        if wanted not in fields:
            raise BadInput(f"{place}: no field '{wanted}'; there are {', '.join(sorted(fields))}")
        return captions_of(fields[wanted], place)
    return next((captions_of(fields[name], place) for name in CAPTION_FIELDS if name in fields), None)


def text_of(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadInput(f"{place}: not UTF-8 at byte {problem.start}") from None


def sample_of_tar(path: Path, key: str, files: dict, wanted: Optional[str]) -> Sample:
    place = f"{path}:{key}"
    image = next((files[suffix] for suffix in IMAGE_SUFFIXES if suffix in files), None)
    suffixes = CAPTION_SUFFIXES if wanted is None else (wanted,)
    text = next((suffix for suffix in suffixes if suffix in files and suffix != "json"), None)
    captions = None
    if text is not None:
        captions = captions_of([line for line in text_of(files[text], place).splitlines() if line.strip()] or [""], place)
    elif "json" in files:
        try:
            fields = json.loads(text_of(files["json"], place))
        except ValueError as problem:
            raise BadInput(f"{place}.json: no JSON ({problem})") from None
        if isinstance(fields, dict):
            captions = caption_in(fields, wanted, place + ".json")
    return Sample(place, image, captions)


def has_end(path: Path) -> bool:
    """Whether a plain tar ends with its mark, a block of zeros: tarfile takes one that was cut between two files for a whole one."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - tarfile.BLOCKSIZE, 0))
        return file.read() == bytes(tarfile.BLOCKSIZE)


def samples_of_tar(path: Path, wanted: Optional[str]) -> Iterator[Sample]:
    """One pass over the tar; a sample's files stand one after the other. Nothing is written under names of the tar."""
    key, files = None, {}
    if path.name.lower().endswith(".tar") and not has_end(path):
        raise BadInput(f"{path}: no whole tar (its end is missing); fetch it again")
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if not stem or not suffix:
                    continue
                if member.size > LARGEST_FILE:
                    raise BadInput(f"{path}:{member.name}: {member.size} bytes; {LARGEST_FILE} are the most")
                if key != f"{folder}/{stem}":
                    if files:
                        yield sample_of_tar(path, key, files, wanted)
                    key, files = f"{folder}/{stem}", {}
                files[suffix.lower()] = tar.extractfile(member).read()
            if files:
                yield sample_of_tar(path, key, files, wanted)
    except (tarfile.TarError, EOFError, OSError) as problem:
        raise BadInput(f"{path}: no whole tar ({problem}); fetch it again") from None


def image_in(value) -> Optional[bytes]:
    """Bytes, or Hugging Face's Image: bytes with a path, or a path alone, which is another machine's."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def image_column(schema, path: Path, wanted: Optional[str]) -> str:
    import pyarrow

    def holds(kind) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(kind.field(index).name == "bytes" for index in range(kind.num_fields))
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    found = [field.name for field in schema if holds(field.type)]
    if wanted is not None and wanted in found:
        return wanted
    if wanted is not None or len(found) != 1:
        raise BadInput(f"{path}: {'no such column of images' if wanted else f'{len(found)} columns of images'}; there are {', '.join(found) or 'none'}"
                       f" among {', '.join(schema.names)}; name one with --image")
    return found[0]


def samples_of_parquet(path: Path, image: Optional[str], wanted: Optional[str]) -> Iterator[Sample]:
    parquet = needed("pyarrow.parquet", path)
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as problem:
        raise BadInput(f"{path}: no parquet file ({problem})") from None
    image = image_column(file.schema_arrow, path, image)
    names = [name for name in file.schema_arrow.names if name == wanted or (wanted is None and name in CAPTION_FIELDS)]
    if wanted is not None and not names:
        raise BadInput(f"{path}: no column '{wanted}'; there are {', '.join(file.schema_arrow.names)}")
    row = 0
    try:
        for batch in file.iter_batches(batch_size=ROWS, columns=[image, *names]):
            for fields in batch.to_pylist():
                row += 1
                place = f"{path}:{row}"
                yield Sample(place, image_in(fields.pop(image)), caption_in(fields, wanted, place))
    except (OSError, ValueError) as problem:
        raise BadInput(f"{path}: damaged after row {row} ({problem}); fetch it again") from None


def files_of(source: Path) -> List[Path]:
    """The sets that a source names: itself, or what a folder holds, sorted."""
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.is_file() and path.name.lower().endswith((*TAR_SUFFIXES, ".parquet")))
        if not found:
            raise BadInput(f"{source}: the folder holds no {', '.join((*TAR_SUFFIXES, '.parquet'))}")
        return found
    if not source.is_file():
        raise BadInput(f"{source}: no such file or folder")
    if not source.name.lower().endswith((*TAR_SUFFIXES, ".parquet")):
        raise BadInput(f"{source}: neither a tar ({', '.join(TAR_SUFFIXES)}) nor a .parquet")
    return [source]


def samples_of(sources: List[Path], arguments: argparse.Namespace) -> Iterator[Sample]:
    for path in (path for source in sources for path in files_of(source)):
        if path.name.lower().endswith(".parquet"):
            yield from samples_of_parquet(path, arguments.image, arguments.caption)
        else:
            yield from samples_of_tar(path, arguments.caption)


class Folder:
    """Where samples go, counted through."""

    def __init__(self, path: Path):
        self.path, self.count = path, 0

    def add(self, sample: Sample, suffix: str) -> None:
        place = self.path / f"{self.count // IMAGES_OF_FOLDER:04}"
        if self.count % IMAGES_OF_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"{self.count:08}.{suffix}").write_bytes(sample.image)
        (place / f"{self.count:08}.txt").write_text("\n".join(sample.captions) + "\n", encoding="utf-8")
        self.count += 1


class Told:
    """Progress on one line, and samples that are left out: the first by name."""

    def __init__(self):
        self.left_out = 0
        self.last = time.monotonic()

    def leave_out(self, sample: Sample, reason: str) -> None:
        self.left_out += 1
        if self.left_out <= NAMED:
            print(f"left out: {sample.place}: {reason}", file=sys.stderr)

    def progress(self, count: int) -> None:
        if time.monotonic() - self.last >= (0.5 if sys.stderr.isatty() else 10.0):
            self.last = time.monotonic()
            print(f"{count:,} images", end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def unpack(arguments: argparse.Namespace, place: Path) -> str:
    """Writes all samples below `place`; returns what was done."""
    every = arguments.validation_every
    training = Folder(place / "train" if every else place)
    held_out = Folder(place / "validation")
    told = Told()
    for index, sample in enumerate(samples_of(arguments.sources, arguments)):
        suffix = kind_of_image(sample.image) if sample.image is not None else None
        if sample.image is None:
            told.leave_out(sample, "no image, or none with its bytes")
        elif suffix is None:
            told.leave_out(sample, "the image is of no kind that is known by its first bytes")
        elif sample.captions is None:
            told.leave_out(sample, "no caption; name its suffix, field or column with --caption")
        else:
            (held_out if every and index % every == every - 1 else training).add(sample, suffix)
        told.progress(training.count + held_out.count)
        if arguments.limit is not None and training.count + held_out.count >= arguments.limit:
            break
    if training.count == 0:
        raise BadInput(f"no sample with an image and a caption in {', '.join(map(str, arguments.sources))} ({told.left_out} left out)")
    parts = [f"{training.count} images" + (f" in {arguments.output / 'train'}, {held_out.count} in {arguments.output / 'validation'}" if every else f" in {arguments.output}")]
    return ", ".join(parts + ([f"{told.left_out} left out"] if told.left_out else []))


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("a number from 1 on is wanted")
    return value


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="tars, parquet files, or folders of them")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a new folder; appears when all is done")
    parser.add_argument("--image", metavar="COLUMN", help="of parquet: the column of images (default: the only one)")
    parser.add_argument("--caption", metavar="NAME", help=f"of tars the suffix or the field of .json, of parquet the column (default: {', '.join(CAPTION_SUFFIXES)}; {', '.join(CAPTION_FIELDS)})")
    parser.add_argument("--validation-every", type=positive, metavar="N", help="hold every N-th sample out: FOLDER/train and FOLDER/validation")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N images alone")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    unfinished = arguments.output.with_name(f"{arguments.output.name}.tmp-{os.getpid()}")
    try:
        if arguments.output.exists():
            raise BadInput(f"{arguments.output} is there already; name a new folder")
        unfinished.mkdir(parents=True)
        done = unpack(arguments, unfinished)
        unfinished.rename(arguments.output)
    except BadInput as problem:
        sys.exit(f"error: {problem}")
    except OSError as problem:
        sys.exit(f"error: {problem.filename or arguments.output}: {problem.strerror}")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    print(done)


if __name__ == "__main__":
    main()
