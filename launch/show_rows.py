"""Prints documents with the trained tokens marked: coloured on a terminal, in [[ ]] elsewhere."""

import os
import sys

_LONGEST = 4000  # characters of a document that are printed


def marked(text: str, offsets, counts, colour: bool) -> str:
    """`text` with every run of tokens that count between marks; `offsets` are (begin, end) in characters."""
    opening, closing = ("\033[32m", "\033[0m") if colour else ("[[", "]]")
    parts, position, inside = [], 0, False
    for (begin, _), count in zip(offsets, counts):
        if bool(count) != inside:
            parts += [text[position:begin], opening if count else closing]
            position, inside = begin, bool(count)
    parts.append(text[position : offsets[-1][1]] if len(offsets) else "")
    return "".join(parts) + (closing if inside else "")


class Rows:
    """Shows the first `left` documents that it is given."""

    def __init__(self, left: int):
        self._left, self._number = left, 0
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    @property
    def wanted(self) -> bool:
        return self._left > 0

    def show(self, text: str, encoding, counts) -> None:
        """A document's text, its tokens and which of them count (None: all)."""
        if not self.wanted:
            return
        self._left -= 1
        self._number += 1
        length = len(encoding.ids) if counts is None else len(counts)
        counts = [1] * length if counts is None else counts
        shown = sum(1 for begin, _ in encoding.offsets[:length] if begin < _LONGEST)
        print(f"== row {self._number}: {length} tokens, {sum(map(int, counts))} of them trained")
        print(marked(text, encoding.offsets[:shown], counts[:shown], self._colour) + ("…" if shown < length else ""), flush=True)
