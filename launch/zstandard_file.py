"""Reads .zst files as a stream: all frames, and a file that is cut off is an error."""

import io
from pathlib import Path

_BLOCK = 1 << 18  # packed bytes read at a time


class ZstandardFile(io.RawIOBase):
    """The unpacked bytes of `path`; `zstandard` is the module. The library's own reader ends in silence where the file is cut off."""

    def __init__(self, zstandard, path: Path):
        self._zstandard, self._file = zstandard, open(path, "rb")
        self._decoder = None  # of the frame that is open
        self._packed, self._text = b"", b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer) -> int:
        while not self._text:
            if not self._packed:
                self._packed = self._file.read(_BLOCK)
                if not self._packed:
                    if self._decoder is not None:
                        raise EOFError("the file ends in the middle of compressed data")
                    return 0
            self._unpack()
        count = min(len(buffer), len(self._text))
        buffer[:count], self._text = self._text[:count], self._text[count:]
        return count

    def _unpack(self) -> None:
        self._decoder = self._decoder or self._zstandard.ZstdDecompressor().decompressobj()
        try:
            self._text = self._decoder.decompress(self._packed)
        except self._zstandard.ZstdError as error:
            raise OSError(f"no zstandard data ({error})") from None
        self._packed = self._decoder.unused_data if self._decoder.eof else b""
        if self._decoder.eof:
            self._decoder = None
