"""Text from files, folders, records and manual pages, as a stream of pieces whose size has a bound."""

import codecs
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional

from source_files import BadInput, open_source

PIECE = 1 << 22  # characters; a longer text file is tokenized piece by piece
_BLOCK = 1 << 20  # bytes read at a time
SYSTEM_PAGES = Path("/usr/share/man")


@dataclass
class Piece:
    """A part of one document; `last` ends the document."""

    text: str
    last: bool
    withheld: bool = False  # the same text is held out under another name: the document counts, but nothing is trained on it
    trained: Optional[list] = None  # of a chat: where the loss counts, as (begin, end) in characters; None: everywhere
    ends_record: bool = True  # one conversation may become several documents, which stay together
    place: str = ""  # file:line for messages


def cut_position(text: str) -> int:
    """Where a long text may be cut so that the parts tokenize as the whole: before a line break that follows a letter."""
    position = len(text)
    while True:
        position = text.rfind("\n", 1, position)
        if position <= 0:
            break
        if text[position - 1].isalpha():
            return position
    blank = text.rfind(" ", 1)
    return blank if blank > 0 else len(text)


def read_text(path: Path) -> Iterator[Piece]:
    """One document: the whole file, in pieces of about `PIECE` characters."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pending, position = "", 0
    with open_source(path) as file:
        while True:
            block = file.read(_BLOCK)
            if (zero := block.find(b"\0")) >= 0:
                raise BadInput(f"{path}: binary, not text (a zero byte at byte {position + zero}); name text files, or convert it, as with iconv -t utf-8")
            try:
                pending += decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = max(0, position - len(decoder.getstate()[0])) + error.start
                raise BadInput(f"{path}: not UTF-8 near byte {at}; convert it first, as with iconv -t utf-8") from None
            position += len(block)
            if not block:
                break
            while len(pending) > PIECE:
                cut = cut_position(pending[:PIECE])
                yield Piece(pending[:cut], last=False)
                pending = pending[cut:]
    yield Piece(pending, last=True)


def _page_commands() -> list:
    if shutil.which("groff"):  # what `man` prints into a file
        return ["groff", "-Kutf8", "-Tutf8", "-mandoc", "-t", "-P-cbuo"]
    if shutil.which("mandoc"):
        return ["mandoc", "-Tutf8", "-Owidth=78"]
    raise BadInput("manual pages need a formatter: install the package groff-base (or mandoc), or name your own text instead")


def render_page(path: Path) -> str:
    """A manual page as plain text."""
    source = open_source(path).read()
    done = subprocess.run(_page_commands(), input=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    text = done.stdout.decode("utf-8")
    plain = []
    for character in text:  # mandoc prints bold and underlined text as "x backspace x"
        if character == "\b":
            plain.pop()
        else:
            plain.append(character)
    return "".join(plain)


def _pages_in(folder: Path, section: str) -> list:
    """A section's pages, aliases (links) among them; empty where there are so few that the packages must be missing."""
    pages = sorted(page for page in folder.glob(f"man{section}/*.{section}*") if page.is_file())
    return pages if len(pages) >= 100 else []


def manual_pages(section: str, cache: Path) -> list:
    """The pages of one manual section: the system's, or those of Debian's packages, fetched into `cache`."""
    pages = _pages_in(SYSTEM_PAGES, section)
    if not pages:
        fetched = cache / "usr/share/man"
        if not _pages_in(fetched, section):
            _fetch_packages(section, cache)
        pages = _pages_in(fetched, section)
    if not pages:
        raise BadInput(f"no manual pages of section {section} in {SYSTEM_PAGES}, and none in Debian's packages; name your own text instead")
    return pages


def _fetch_packages(section: str, cache: Path) -> None:
    """Unpacks Debian's manual pages beside us, without root and without installing them (minimal images leave pages out)."""
    if not shutil.which("apt-get"):
        raise BadInput(f"{SYSTEM_PAGES}/man{section} holds too few pages and there is no apt-get to fetch them; name your own text instead")
    cache.mkdir(parents=True, exist_ok=True)
    for package in ("manpages", "manpages-dev"):
        try:
            subprocess.run(["apt-get", "download", "-q", package], cwd=cache, check=True, capture_output=True, text=True)
            for archive in cache.glob(f"{package}_*.deb"):
                subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=cache, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BadInput(f"cannot fetch the package {package}: {reason}; run apt-get update, or install {package}, or name your own text") from None


def read_manual(section: str, cache: Path, is_held_out=lambda position: False) -> Iterator[Piece]:
    """One document per page. A page may stand under several names: where one of them is held out, the others are withheld from training."""
    pages = [page.resolve() for page in manual_pages(section, cache)]
    held_out = {page for position, page in enumerate(pages) if is_held_out(position)}
    rendered = {}
    for position, page in enumerate(pages):
        if page in held_out and not is_held_out(position):
            yield Piece("", last=True, withheld=True)
            continue
        if page not in rendered:
            rendered[page] = render_page(page)
        yield Piece(rendered[page], last=True)
