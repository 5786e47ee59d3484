"""What launch/prepare_text.py promises: the token sets of docs/token_dataset.md, from every kind of source."""

import gzip
import hashlib
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
sys.path.insert(0, str(LAUNCH))

import text_sources  # noqa: E402
from preparation import Preparation, Source  # noqa: E402
from tokenizer_identity import canonical_form, tokenizer_sha256  # noqa: E402
from tokens_file import TokensFile  # noqa: E402


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A byte-level BPE tokenizer of 400 tokens in the layout of a model folder."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([(LAUNCH / "prepare_text.py").read_text()], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    return folder


def run(model_folder: Path, output: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, LAUNCH / "prepare_text.py", "--tokenizer", model_folder, "--output", output, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def documents(path: Path, model_folder: Path) -> list:
    """The texts of a token set; checks the format's promises on the way."""
    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    with h5py.File(path) as file:
        tokens, offsets = file["tokens"][:], file["offsets"][:]
        assert file["tokens"].dtype == numpy.uint32 and file["offsets"].dtype == numpy.uint64
        assert file["tokens"].chunks is None
        assert offsets[0] == 0 and offsets[-1] == len(tokens) and (numpy.diff(offsets.astype(numpy.int64)) > 0).all()
        assert file.attrs["format"] == b"dormer.tokens/1"
        assert file.attrs["tokenizer_sha256"].decode() == tokenizer_sha256(model_folder / "tokenizer.json")
        assert file.attrs["vocab_size"] == tokenizer.get_vocab_size()
        assert file.attrs["documents"] == len(offsets) - 1 and file.attrs["token_count"] == len(tokens)
        end = int(file.attrs["separator"])
    texts = []
    for begin, stop in zip(offsets[:-1], offsets[1:]):
        assert tokens[stop - 1] == end
        texts.append(tokenizer.decode(tokens[begin : stop - 1].tolist(), skip_special_tokens=False))
    return texts


def test_added_tokens_count_in_the_vocabulary(model_folder, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    before = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["<new a>", "<new b>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text((model_folder / "tokenizer_config.json").read_text())
    (tmp_path / "text.txt").write_text("some <new b> text")
    done = run(folder, tmp_path / "train.h5", tmp_path / "text.txt")
    assert done.returncode == 0, done.stderr
    assert documents(tmp_path / "train.h5", folder) == ["some <new b> text"]
    with h5py.File(tmp_path / "train.h5") as file:
        assert file.attrs["vocab_size"] == before + 2
        assert before + 1 in file["tokens"][:] and before not in file["tokens"][:]


def test_files_folders_and_lines_become_documents_in_order(model_folder, tmp_path):
    (tmp_path / "folder/inner").mkdir(parents=True)
    (tmp_path / "folder/b.txt").write_text("second, ä\n")
    (tmp_path / "folder/inner/c.md").write_text("third")
    (tmp_path / "folder/.hidden.txt").write_text("never")
    (tmp_path / "folder/photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "first.txt").write_bytes("\ufefffirst".encode())
    with gzip.open(tmp_path / "lines.jsonl.gz", "wt") as file:
        file.write('{"body": "fourth"}\n\n{"body": "", "other": 1}\n{"body": "fifth\\nline"}\n')
    output = tmp_path / "data/train.h5"
    done = run(model_folder, output, tmp_path / "first.txt", tmp_path / "folder", tmp_path / "lines.jsonl.gz", "--field", "body")
    assert done.returncode == 0, done.stderr
    assert documents(output, model_folder) == ["first", "second, ä\n", "third", "fourth", "fifth\nline"]
    assert "1 empty documents were left out" in done.stdout
    with h5py.File(output) as file:
        sources = json.loads(file["sources"][()])
    assert [source["documents"] for source in sources] == [1, 2, 2]
    assert sources[0]["source"] == str(tmp_path / "first.txt")
    assert sorted(path.name for path in output.parent.iterdir()) == ["train.h5"]


def test_every_nth_document_is_held_out(model_folder, tmp_path):
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"text": f"page {number}"}) + "\n" for number in range(10)))
    output = tmp_path / "train.h5"
    done = run(model_folder, output, tmp_path / "lines.jsonl", "--validation-every", 4, "--validation-output", tmp_path / "held.h5")
    assert done.returncode == 0, done.stderr
    assert documents(tmp_path / "held.h5", model_folder) == ["page 3", "page 7"]
    assert documents(output, model_folder) == [f"page {number}" for number in range(10) if number not in (3, 7)]


def test_a_fraction_is_held_out_by_seed_and_the_bytes_repeat(model_folder, tmp_path):
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"text": f"page {number}"}) + "\n" for number in range(500)))
    held = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = run(model_folder, tmp_path / name / "train.h5", tmp_path / "lines.jsonl", "--validation-fraction", 0.2, "--seed", seed)
        assert done.returncode == 0, done.stderr
        held[name] = documents(tmp_path / name / "validation.h5", model_folder)
    assert 60 <= len(held["a"]) <= 140  # 100 expected, standard deviation 9
    assert held["a"] != held["c"]
    for part in ("train.h5", "validation.h5"):
        assert (tmp_path / "a" / part).read_bytes() == (tmp_path / "b" / part).read_bytes()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "a.jsonl:2: not a JSON value"),
        ("b.jsonl", b'{"text": "x"}\n{"body": "y"}\n', 'b.jsonl:2: no text in "text" (fields here: body)'),
        ("c.jsonl", b'[1]\n', 'c.jsonl:1: no object with fields, but a list'),
        ("d.jsonl", b'{"text": "\xff"}\n', "d.jsonl:1: not UTF-8 at byte 10 of the line"),
        ("e.txt", b"good \xff bad", "e.txt: not UTF-8 near byte 5"),
        ("f.txt.gz", b"no gzip at all", "f.txt.gz: cannot be read"),
        ("g.txt", b"", "g.txt: the file is empty"),
        ("h.txt", b"GIF89a\0\1", "h.txt: binary, not text (a zero byte at byte 6)"),
        ("i.txt.gz", gzip.compress(b""), "no document for training among 0"),
        ("j.jsonl", b'{"text": "\\ud800"}\n', "j.jsonl:1: holds half of a character"),
        ("k.json", b'[{"text": "x"},\n {"text": 1 2}]', "k.json:2: the element that begins here is no JSON value"),
        ("l.json", b'[{"text": "x"},\n {"text": "y"}', "l.json:2: the array is not closed"),
        ("m.jsonl", b'{"body": "x"}\n', 'm.jsonl:1: no "messages" or "conversations" or "instruction" and "output"'),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(model_folder, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "data").mkdir()
    done = run(model_folder, tmp_path / "data/train.h5", tmp_path / name, "--validation-every", 2)
    assert done.returncode == 3
    complaint = [line for line in done.stderr.splitlines() if line.startswith("prepare_text:")]
    assert len(complaint) == 1 and message in complaint[0]
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_a_failed_run_keeps_the_earlier_file(model_folder, tmp_path):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "bad.jsonl").write_text("no")
    output = tmp_path / "train.h5"
    assert run(model_folder, output, tmp_path / "good.txt").returncode == 0
    before = output.read_bytes()
    assert run(model_folder, output, tmp_path / "good.txt", tmp_path / "bad.jsonl").returncode == 3
    assert output.read_bytes() == before


def test_a_long_file_in_pieces_gives_the_tokens_of_the_whole(model_folder, tmp_path, monkeypatch):
    text = "".join(f"A line about {number}, and more;  \n\n  indented é text\n" for number in range(3000))
    (tmp_path / "long.txt").write_text(text)
    monkeypatch.setattr(text_sources, "PIECE", 5000)
    monkeypatch.setattr(text_sources, "_BLOCK", 3001)  # characters of several bytes fall on the edges
    pieces = list(text_sources.read_text(tmp_path / "long.txt"))
    assert len(pieces) > 20 and "".join(piece.text for piece in pieces) == text
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    joined = [number for piece in pieces for number in tokenizer.encode(piece.text).ids]
    assert joined == tokenizer.encode(text).ids


def test_a_long_file_is_read_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text_sources, "PIECE", 1 << 16)
    (tmp_path / "long.txt").write_text("word and word\n" * 2_000_000)  # 28 MB
    tracemalloc.start()
    length = sum(len(piece.text) for piece in text_sources.read_text(tmp_path / "long.txt"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == 28_000_000
    assert peak < 8_000_000  # a block of 1 MiB as bytes and as text, twice while joining


def test_identity_of_the_documented_example():
    example = {
        "model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        "added_tokens": [{"id": 3, "content": "é", "special": True}],
    }
    text = "dormer.tokenizer/1\nvocabulary 3\n0 1:a\n1 1:b\n2 2:ab\nmerges 1\n1:a 1:b\nadded 1\n3 2:é 1\n"
    assert canonical_form(example) == text.encode()
    page = (LAUNCH.parent / "docs/token_dataset.md").read_text()
    assert hashlib.sha256(text.encode()).hexdigest() in page
    other_spelling = json.loads(json.dumps(example))
    other_spelling["model"]["merges"] = [["a", "b"]]
    assert canonical_form(other_spelling) == text.encode()


def test_identity_of_a_unigram_model_counts_scores():
    def form(score):
        return canonical_form({"model": {"vocab": [["<unk>", 0.0], ["a", score]]}})

    assert form(-2.5) == b"dormer.tokenizer/1\nvocabulary 2\n0 5:<unk> 0000000000000000\n1 1:a c004000000000000\nmerges 0\nadded 0\n"
    assert form(-2.5) != form(-2.25)


@pytest.fixture
def manual(tmp_path, monkeypatch) -> Path:
    """A cache with a section of 121 pages, the last of which is another name of the fourth; the system has none."""
    folder = tmp_path / "usr/share/man/man2"
    folder.mkdir(parents=True)
    for number in range(120):
        page = f".TH PAGE{number} 2\n.SH NAME\npage{number} \\- does \\fBbold\\fP things\n"
        (folder / f"page{number:03}.2.gz").write_bytes(gzip.compress(page.encode()))
    (folder / "same_as_page003.2.gz").symlink_to("page003.2.gz")
    monkeypatch.setattr(text_sources, "SYSTEM_PAGES", tmp_path / "nowhere")
    return tmp_path


def test_manual_pages_are_plain_text(manual):
    pages = [piece.text for piece in text_sources.read_manual("2", manual)]
    assert len(pages) == 121 and pages[120] == pages[3]
    assert "page7 - does bold things" in " ".join(pages[7].replace("‐", "-").replace("−", "-").replace("–", "-").split())
    assert not any("\b" in page or "\x1b" in page for page in pages)


@pytest.mark.parametrize("held_out, withheld", [(3, [120]), (120, [3]), (4, [])])
def test_no_other_name_of_a_held_out_page_is_trained_on(manual, held_out, withheld):
    pieces = list(text_sources.read_manual("2", manual, lambda position: position == held_out))
    assert [position for position, piece in enumerate(pieces) if piece.withheld] == withheld
    assert all(bool(piece.text) != piece.withheld for piece in pieces)


def test_withheld_documents_keep_their_place_and_are_written_nowhere(tmp_path, model_folder):
    train, validation = TokensFile(tmp_path / "train.h5"), TokensFile(tmp_path / "validation.h5")
    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    work = Preparation(tokenizer, 0, train, validation, lambda index: index == 2)
    texts = [("a", False), ("", True), ("held out", False), ("b", False)]
    pieces = [text_sources.Piece(text, last=True, withheld=withheld) for text, withheld in texts]
    assert work.take(Source("pages", lambda first, again: pieces))["documents"] == 4
    assert (train.documents, validation.documents, work.withheld, work.empty) == (2, 1, 1, 0)
    train.discard()
    validation.discard()


def test_nothing_stands_under_the_final_name_before_the_end(tmp_path):
    file = TokensFile(tmp_path / "train.h5")
    file.append([1, 2, 3])
    file.end_document()
    assert not (tmp_path / "train.h5").exists()
    file.discard()
    assert list(tmp_path.iterdir()) == []
