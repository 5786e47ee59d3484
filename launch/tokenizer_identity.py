"""Says which tokenizer made a token set: a SHA-256 over its vocabulary, merges and added tokens.

The canonical form is written down in docs/token_dataset.md; the program computes the same from tokenizer.json.
"""

import hashlib
import json
import struct
from pathlib import Path


def _field(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return b"%d:%s" % (len(raw), raw)


def _vocabulary(model: dict) -> list:
    """Entries as (id, token, score or None), sorted by id. Unigram models number their entries by position."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        return sorted(((number, token, None) for token, number in vocabulary.items()), key=lambda entry: (entry[0], entry[1].encode("utf-8", "surrogatepass")))
    return [(number, token, score) for number, (token, score) in enumerate(vocabulary)]


def _merges(model: dict) -> list:
    """Pairs in order of rank; tokenizer.json spells them "a b" (older) or ["a", "b"]."""
    return [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model.get("merges") or []]


def canonical_form(tokenizer: dict) -> bytes:
    """Serializes what decides token ids, whatever the spelling of the file was."""
    model = tokenizer["model"]
    vocabulary, merges = _vocabulary(model), _merges(model)
    added = [(token["id"], token["content"], bool(token.get("special"))) for token in tokenizer.get("added_tokens") or []]
    added.sort(key=lambda entry: (entry[0], entry[1].encode("utf-8", "surrogatepass")))
    lines = [b"dormer.tokenizer/1", b"vocabulary %d" % len(vocabulary)]
    for number, token, score in vocabulary:
        bits = b"" if score is None else b" %016x" % struct.unpack("<Q", struct.pack("<d", score))[0]
        lines.append(b"%d %s%s" % (number, _field(token), bits))
    lines.append(b"merges %d" % len(merges))
    lines += [b"%s %s" % (_field(left), _field(right)) for left, right in merges]
    lines.append(b"added %d" % len(added))
    lines += [b"%d %s %d" % (number, _field(content), special) for number, content, special in added]
    return b"\n".join(lines) + b"\n"


def tokenizer_sha256(path: Path) -> str:
    """The identity of the tokenizer in `path`, a tokenizer.json."""
    return hashlib.sha256(canonical_form(json.loads(path.read_text(encoding="utf-8")))).hexdigest()


def vocabulary_size(path: Path) -> int:
    """One more than the largest token id that the tokenizer in `path` can produce."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    numbers = [number for number, _, _ in _vocabulary(tokenizer["model"])]
    numbers += [token["id"] for token in tokenizer.get("added_tokens") or []]
    return max(numbers) + 1
