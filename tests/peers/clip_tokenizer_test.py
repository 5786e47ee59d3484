"""Our tokens of captions against those of transformers' CLIPTokenizer: the same ids, all of them.

transformers 5 has one implementation (`CLIPTokenizerFast` is another name of it): tokenizers' byte-level BPE behind NFC, white space made one blank
and small letters; neither ftfy nor HTML is looked at. Characters that are newer than the linked utf8proc are left out: what is not known yet to be
a letter counts as a sign. The vocabulary is CLIP's own."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from transformers import CLIPTokenizer, CLIPTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "launch"))
from clip_captions import captions
from prepare_clip_vocabulary import clip_merges, write_folder

PROBE = os.path.join(os.environ["DORMER_BUILD"], "tests", "clip_probe")


def written(content, **more):
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False, **more}


BEGIN, END = "<|startoftext|>", "<|endoftext|>"
CONFIG = {"add_prefix_space": False, "bos_token": {"__type": "AddedToken", **written(BEGIN)}, "do_lower_case": True, "errors": "replace",
          "eos_token": {"__type": "AddedToken", **written(END)}, "model_max_length": 77, "pad_token": END, "tokenizer_class": "CLIPTokenizer",
          "unk_token": {"__type": "AddedToken", **written(END)}}
MAP = {"bos_token": written(BEGIN), "eos_token": written(END), "pad_token": END, "unk_token": written(END)}
# As Stable Diffusion 1.5, SDXL and files of other ages have them.
FOLDERS = {
    "bare": {},
    "first_generation": {"tokenizer_config": CONFIG, "special_tokens_map": MAP},
    "second_of_sdxl": {"tokenizer_config": CONFIG | {"pad_token": "!"}, "special_tokens_map": MAP | {"pad_token": "!"}},
    "map_overrides": {"tokenizer_config": CONFIG | {"pad_token": "!"}, "special_tokens_map": {"bos_token": BEGIN, "pad_token": written("?", special=False)}},
    "decoder": {"tokenizer_config": {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": "!", "model_max_length": 77, "added_tokens_decoder": {
        "49407": written(END, special=True), "49406": written(BEGIN, special=True), "0": written("!", special=True) | {"normalized": False},
        "49408": written("<Cat-Toy>", special=False), "49409": written("<cat-toy>s", special=False) | {"normalized": False}}},
        "special_tokens_map": {"pad_token": "?"}},
    "extra": {"tokenizer_config": CONFIG | {"additional_special_tokens": ["<cat-toy>", "<cat-toy>s", "[PAD]"], "pad_token": "[PAD]", "model_max_length": 1e30}},
    "extra_of_map": {"special_tokens_map": MAP | {"additional_special_tokens": ["<cat-toy>"], "mask_token": "<Cat-Toy>"}},
    "legacy_list": {"tokenizer_config": CONFIG, "added_tokens": {"<Dog-Toy>": 49409, "<cat-toy>": 49408, BEGIN: 49406}},
    "no_normalization": {"tokenizer_config": CONFIG | {"unk_token": END, "bos_token": {"__type": "AddedToken", "content": BEGIN}}},
}


@pytest.fixture(scope="module")
def ids_of(tmp_path_factory):
    """Folder and texts to the tokens that are told and a list of ids for each text, by us."""
    texts_file = tmp_path_factory.mktemp("texts") / "texts.json"

    def ask(folder, texts):
        texts_file.write_text(json.dumps(texts))
        done = subprocess.run([PROBE, folder, texts_file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = [[int(word) for word in line.split()] for line in done.stdout.split("\n")[:-1]]
        assert len(lines) == len(texts) + 1
        return lines[0], lines[1:]

    return ask


@pytest.fixture(scope="module", params=FOLDERS, ids=str)
def folder(request, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp(request.param) / "tokenizer", clip_merges(), **FOLDERS[request.param])


@pytest.fixture(scope="module")
def bare_folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("plain") / "tokenizer", clip_merges())


@pytest.fixture(scope="module")
def known():
    """Python's database where utf8proc is no older, which systems see to; else one that is old enough."""
    version = subprocess.run([PROBE, "--unicode"], capture_output=True, text=True, check=True).stdout
    order = lambda text: [int(part) for part in text.split(".")]
    return unicodedata if order(unicodedata.unidata_version) <= order(version) else unicodedata.ucd_3_2_0


def expect_same(texts, ours, theirs):
    different = [(text, a, b) for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
    assert not different, f"{len(different)} of {len(texts)} differ, such as {different[0]!r}"


def of_transformers(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def test_ten_thousand_captions_have_the_ids_of_transformers(bare_folder, ids_of, known):
    texts = captions(10_000, seed=5, known=known)
    tokenizer = CLIPTokenizer.from_pretrained(bare_folder)
    theirs = of_transformers(tokenizer, texts)
    expect_same(texts, ids_of(bare_folder, texts)[1], theirs)
    assert len({token for ids in theirs for token in ids}) > 1_500, "the captions are all the same"
    assert type(tokenizer) is CLIPTokenizerFast or issubclass(CLIPTokenizerFast, CLIPTokenizer)


def test_every_character_has_the_ids_of_transformers(bare_folder, ids_of, known):
    points = [chr(point) for point in range(0x110000) if known.category(chr(point)) not in ("Cn", "Cs")]
    assert len(points) > 200_000
    tokenizer = CLIPTokenizer.from_pretrained(bare_folder)
    for form in ("a{0}b", "!{0}!"):  # whether it is a letter, a digit, a sign or white space, and its small form
        texts = [form.format(point) for point in points]
        expect_same(texts, ids_of(bare_folder, texts)[1], of_transformers(tokenizer, texts))


def test_special_and_added_tokens_of_a_folder_are_those_of_transformers(folder, ids_of, known):
    texts = captions(1_500, seed=6, known=known)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    told, ours = ids_of(folder, texts)
    length = tokenizer.model_max_length if tokenizer.model_max_length < 1e9 else 77
    assert told == [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, length]
    expect_same(texts, ours, of_transformers(tokenizer, texts))
    around = tokenizer(texts[:50])["input_ids"]
    assert around == [[told[0], *ids, told[1]] for ids in ours[:50]]


def test_a_folder_with_tokenizer_json_alone_has_the_ids_of_transformers(folder, ids_of, known, tmp_path):
    CLIPTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    for file in tmp_path.iterdir():
        if file.name != "tokenizer.json":
            file.unlink()
    texts = captions(500, seed=7, known=known)
    expect_same(texts, ids_of(tmp_path, texts)[1], of_transformers(CLIPTokenizer.from_pretrained(tmp_path), texts))


def test_a_folder_as_transformers_saves_it_has_the_same_ids(folder, ids_of, known, tmp_path):
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path)
    texts = captions(500, seed=8, known=known)
    told, ours = ids_of(tmp_path, texts)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert told[:3] == [again.bos_token_id, again.eos_token_id, again.pad_token_id]
    expect_same(texts, ours, of_transformers(again, texts))


def test_a_small_vocabulary_without_all_bytes_uses_the_unknown_token(ids_of, tmp_path):
    tokens = ["l", "o", "w", "e", "r", "lo", "l</w>", "w</w>", "r</w>", "low</w>", "er</w>", BEGIN, END]
    (tmp_path / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nl o\nlo w</w>\ne r</w>")
    texts = ["lower low er", "Newest é 猫", "loweR", "x"]
    expect_same(texts, ids_of(tmp_path, texts)[1], of_transformers(CLIPTokenizer.from_pretrained(tmp_path), texts))
