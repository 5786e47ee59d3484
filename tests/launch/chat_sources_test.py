"""Where chats come from and what becomes of the odd ones: forms, columns, packings, tables, weights, limits, complaints, rows shown."""

import gzip
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
LAUNCH = HERE.parents[1] / "launch"
sys.path.insert(0, str(LAUNCH))

import source_files  # noqa: E402
from show_rows import marked  # noqa: E402

TEMPLATE = "{% for message in messages %}<|a|>{{ message.role }}: {{ message.content }}<|z|>\n{% endfor %}{% if add_generation_prompt %}<|a|>assistant: {% endif %}"
ASKED = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
WRITTEN = ("<|a|>user: Q<|z|>\n<|a|>assistant: A<|z|>\n", "A<|z|>")


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=259, special_tokens=["<|a|>", "<|z|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["a"], trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)  # as of many models: the blank before a reply begins where the reply does
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": {"content": "<|z|>"}, "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": TEMPLATE}]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def run(model: Path, output: Path, *arguments, **environment) -> subprocess.CompletedProcess:
    command = [sys.executable, LAUNCH / "prepare_text.py", "--tokenizer", model, "--output", output, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env={**os.environ, **environment})


def documents(path: Path, model: Path) -> list:
    """Pairs of a document's text and the text of its trained tokens."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    with h5py.File(path) as file:
        tokens, offsets, mask = file["tokens"][:], file["offsets"][:], file["loss_mask"][:].astype(bool)
    ends = list(zip(offsets[:-1], offsets[1:]))
    return [tuple(tokenizer.decode(part.tolist(), skip_special_tokens=False) for part in (tokens[a:b], tokens[a:b][mask[a:b]])) for a, b in ends]


def prepared(model: Path, tmp_path: Path, *arguments) -> list:
    done = run(model, tmp_path / "train.h5", *arguments)
    assert done.returncode == 0, done.stderr
    return documents(tmp_path / "train.h5", model)


def chat(question: str, answer: str = "A") -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def lines(path: Path, *records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_every_form_is_recognized_by_its_fields(model, tmp_path):
    forms = {
        "messages": {**ASKED, "text": "not this"},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}, ASKED["messages"][1]]},
        "sharegpt": {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}, {"from": "human", "value": "unanswered"}]},
        "alpaca": {"instruction": "Q", "input": "", "output": "A", "text": "not this"},
        "completion": {"prompt": "Q", "completion": "A"},
        "lists": {"prompt": ASKED["messages"][:1], "completion": ASKED["messages"][1:]},
    }
    for name, record in forms.items():
        lines(tmp_path / f"{name}.jsonl", record)
    found = prepared(model, tmp_path, *(tmp_path / f"{name}.jsonl" for name in forms))
    assert found == [WRITTEN] * len(forms)


def test_the_input_of_alpaca_and_system_fields_come_along(model, tmp_path):
    alpaca = lines(tmp_path / "a.jsonl", {"instruction": "Q", "input": "more", "output": "A", "system": "S"})
    assert prepared(model, tmp_path, alpaca) == [("<|a|>system: S<|z|>\n<|a|>user: Q\n\nmore<|z|>\n<|a|>assistant: A<|z|>\n", "A<|z|>")]


def test_other_names_are_mapped(model, tmp_path):
    dialog = lines(tmp_path / "dialog.jsonl", {"messages": "no", "dialog": [{"speaker": "user", "said": "Q"}, {"speaker": "assistant", "said": "A"}]})
    assert prepared(model, tmp_path, dialog, "--columns", "messages=dialog,role=speaker,content=said") == [WRITTEN]
    pair = lines(tmp_path / "pair.jsonl", {"prompt": "no", "q": "Q", "a": "A"})
    assert prepared(model, tmp_path, pair, "--columns", "prompt=q,completion=a") == [WRITTEN]


def test_texts_beside_chats_count_whole_and_end_in_the_separator(model, tmp_path):
    (tmp_path / "note.txt").write_text("note")
    field = lines(tmp_path / "field.jsonl", {**ASKED, "body": "of a field"})
    whole = lines(tmp_path / "chats.jsonl", ASKED)
    assert prepared(model, tmp_path, tmp_path / "note.txt", whole) == [("note<|z|>", "note<|z|>"), WRITTEN]
    done = run(model, tmp_path / "text.h5", field, "--field", "body")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "text.h5") as file:
        assert "loss_mask" not in file and file.attrs["documents"] == 1


def test_packed_files_arrays_and_tables_give_the_same(model, tmp_path):
    records = [chat(f"Q{number}") for number in range(300)]
    plain = lines(tmp_path / "plain.jsonl", *records).read_bytes()
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain))
    half = len(plain) // 2
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(plain[:half]) + zstandard.compress(plain[half:]))  # two frames
    (tmp_path / "c.json").write_text(json.dumps(records, indent=1))
    (tmp_path / "d.json").write_bytes(plain)
    table = pyarrow.Table.from_pylist(records)
    pyarrow.parquet.write_table(table, tmp_path / "e.parquet", row_group_size=70)
    pyarrow.parquet.write_table(table.slice(0, 100), folder / "part-0.parquet")
    with pyarrow.OSFile(str(folder / "part-1.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table.slice(100, 100))
    with pyarrow.OSFile(str(folder / "part-2.arrow"), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.slice(200))
    (folder / "dataset_info.json").write_text('{"features": {}}')  # as `datasets` leaves it
    expected = prepared(model, tmp_path, tmp_path / "plain.jsonl")
    assert len(expected) == 300 and expected[7] == (WRITTEN[0].replace("Q", "Q7"), "A<|z|>")
    for source in ("a.jsonl.gz", "b.jsonl.zst", "c.json", "d.json", "e.parquet", "folder"):
        assert prepared(model, tmp_path, tmp_path / source) == expected, source


def test_an_array_is_read_element_by_element_wherever_blocks_end(tmp_path, monkeypatch):
    records = [{"text": "é\\\"]},[{" * number, "more": [[number], {}]} for number in range(40)]
    (tmp_path / "a.json").write_text("\n" + json.dumps(records, indent=2))
    for block in (1, 2, 3, 7, 100):
        monkeypatch.setattr(source_files, "_BLOCK", block)
        found = list(source_files.read_records(tmp_path / "a.json"))
        assert [record for _, record in found] == records
        assert [place.rsplit(":", 1)[1] for place, _ in found[:3]] == ["3", "12", "21"]


def test_an_array_is_read_in_bounded_memory(tmp_path):
    with open(tmp_path / "a.json", "w") as file:
        file.write("[" + ",\n".join(json.dumps({"text": "words " * 100}) for _ in range(50_000)) + "]")  # 31 MB
    tracemalloc.start()
    places = [place for place, _ in itertools.islice(source_files.read_records(tmp_path / "a.json"), 49_990, None)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert places[-1].endswith(":50000")
    assert peak < 8_000_000  # a block of a million characters, a few times while joining


def test_weights_repeat_a_source_or_take_a_share_of_it(model, tmp_path):
    twice = lines(tmp_path / "twice.jsonl", *(chat(f"twice {number}") for number in range(40)))
    share = lines(tmp_path / "share.jsonl", *(chat(f"share {number}") for number in range(400)))
    more = lines(tmp_path / "more.jsonl", *(chat(f"more {number}") for number in range(400)))
    arguments = ("--source", f"{twice}:2", "--source", f"{share}:0.25", "--source", f"{more}:1.5", "--validation-every", 10, "--seed", 3)
    questions = [text.split("user: ")[1].split("<|z|>")[0] for text, _ in prepared(model, tmp_path, *arguments)]
    held = [text.split("user: ")[1].split("<|z|>")[0] for text, _ in documents(tmp_path / "validation.h5", model)]
    assert sorted(q for q in questions if q.startswith("twice")) == sorted([f"twice {n}" for n in range(40) if n % 10 != 9] * 2)
    taken = [q for q in questions + held if q.startswith("share")]
    assert len(taken) == len(set(taken)) and 65 <= len(taken) <= 135  # 100 expected, standard deviation 9
    assert 360 + 140 <= sum(q.startswith("more") for q in questions) <= 360 + 220  # 180 more expected
    assert not set(held) & set(questions) and len(held) == len(set(held))
    assert {f"more {n}" for n in range(9, 400, 10)} <= set(held)
    with h5py.File(tmp_path / "train.h5") as file:
        sources = json.loads(file["sources"][()])
    assert [source.get("weight") for source in sources] == [2.0, 0.25, 1.5]
    assert sum(source["documents"] for source in sources) == len(questions) + len(held)
    first = (tmp_path / "train.h5").read_bytes()
    prepared(model, tmp_path, *arguments)
    assert (tmp_path / "train.h5").read_bytes() == first


def test_a_split_conversation_stays_on_one_side(model, tmp_path):
    template = tmp_path / "last.jinja"  # marks the turn that was last
    template.write_text("{% for m in messages %}<|a|>{{ m.role }}: {{ m.content }}{% if loop.last and m.role == 'assistant' %}!{% endif %}<|z|>\n{% endfor %}{% if add_generation_prompt %}<|a|>assistant: {% endif %}")
    chats = [{"messages": chat(f"{number}a")["messages"] + chat(f"{number}b")["messages"]} for number in range(6)]
    source = lines(tmp_path / "chats.jsonl", *chats)
    done = run(model, tmp_path / "train.h5", source, "--chat-template", template, "--validation-every", 3)
    assert done.returncode == 0, done.stderr
    assert "6 conversations were split" in done.stdout
    held = documents(tmp_path / "validation.h5", model)
    assert [text.split("user: ")[-1][:2] for text, _ in held] == ["2a", "2b", "5a", "5b"]
    assert {trained for _, trained in held} == {"A!<|z|>"}
    assert len(documents(tmp_path / "train.h5", model)) == 8


@pytest.mark.parametrize(
    "policy, rows, words",
    [
        ("truncate", ["A<|z|>", "A" * 8], "2 rows of chats are longer than 30 tokens: 1 were truncated, 1 left out"),
        ("drop", ["A<|z|>"], "2 rows of chats are longer than 30 tokens: 0 were truncated, 2 left out"),
    ],
)
def test_long_rows_are_cut_or_left_out_and_counted(model, tmp_path, policy, rows, words):
    # "<|a|>user: Q<|z|>\n<|a|>assistant: " has 22 tokens
    source = lines(tmp_path / "chats.jsonl", ASKED, chat("Q", "A" * 50), chat("Q" * 50))
    done = run(model, tmp_path / "train.h5", source, "--sequence-length", 30, "--too-long", policy)
    assert done.returncode == 0, done.stderr
    found = documents(tmp_path / "train.h5", model)
    assert [trained for _, trained in found] == rows
    assert words in done.stdout


def test_a_long_row_can_be_an_error(model, tmp_path):
    source = lines(tmp_path / "chats.jsonl", ASKED, chat("Q", "A" * 50))
    done = run(model, tmp_path / "train.h5", source, "--sequence-length", 30, "--too-long", "error")
    assert done.returncode == 3 and "chats.jsonl:2: a row of 74 tokens, 30 fit" in done.stderr


@pytest.mark.parametrize("colour", [False, True])
def test_trained_tokens_stand_between_marks(colour):
    opening, closing = ("\033[32m", "\033[0m") if colour else ("[[", "]]")
    assert marked("ab cd", [(0, 1), (1, 2), (2, 5)], [0, 1, 0], colour) == f"a{opening}b{closing} cd"
    assert marked("ab", [(0, 1), (1, 2)], [1, 1], colour) == f"{opening}ab{closing}"


def test_rows_are_shown(model, tmp_path):
    source = lines(tmp_path / "chats.jsonl", *(chat(f"Q{number}", "é😀 yes") for number in range(4)), chat("Q", "A" * 300))
    done = run(model, tmp_path / "train.h5", source, "--show", 3)
    assert done.stdout.startswith("== row 1: 35 tokens, 11 of them trained\n<|a|>user: Q0<|z|>\n<|a|>assistant: [[é😀 yes<|z|>]]\n\n== row 2:")
    assert done.stdout.count("== row") == 3
    done = run(model, tmp_path / "train.h5", source, "--show", 9)
    assert "== row 5: 324 tokens, 301 of them trained" in done.stdout


def test_a_terminal_sees_colours_unless_it_wants_none(model, tmp_path):
    source = lines(tmp_path / "chats.jsonl", ASKED)
    command = [sys.executable, LAUNCH / "prepare_text.py", "--tokenizer", model, "--output", tmp_path / "train.h5", source, "--show", 1]
    for no_colour, expected in (("", b"\033[32mA<|z|>\033[0m"), ("1", b"[[A<|z|>]]")):
        reader, terminal = os.openpty()
        subprocess.run(list(map(str, command)), stdout=terminal, stderr=subprocess.PIPE, check=True, env={**os.environ, "NO_COLOR": no_colour})
        os.close(terminal)
        assert expected in os.read(reader, 1 << 16)
        os.close(reader)


def turns(*roles) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": role} for role in roles]}).encode()


GOOD = json.dumps(ASKED).encode() + b"\n"


@pytest.mark.parametrize(
    "content, message",
    [
        (GOOD + turns("user"), "b.jsonl:2: the chat has no assistant turn"),
        (GOOD + b"\n" + turns("system"), "b.jsonl:3: the chat has no assistant turn"),
        (GOOD + turns("assistant", "user"), "b.jsonl:2: roles out of order: turn 1 is the assistant's at the beginning, where one of system or user must stand"),
        (GOOD + turns("user", "assistant", "assistant"), "b.jsonl:2: roles out of order: turn 3 is the assistant's after one of the assistant"),
        (GOOD + turns("user", "system", "assistant"), "b.jsonl:2: roles out of order: turn 2 is the system's after one of the user"),
        (GOOD + turns("user", "wizard"), 'b.jsonl:2: turn 2 has the role "wizard"; known are assistant, '),
        (GOOD + b'{"messages": [{"role": "user"}]}', "b.jsonl:2: turn 1 has no role or no content (fields here: role)"),
        (GOOD + b'{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "b.jsonl:2: turn 1 holds something other than text"),
        (GOOD + b'{"messages": "hello"}', "b.jsonl:2: the turns are no list"),
        (GOOD + b'{"text": "hello"}', "b.jsonl:2: the turns are no list"),
        (GOOD + b'{"messages": "\xff"}', "b.jsonl:2: not UTF-8 at byte 14 of the line"),
    ],
)
def test_a_bad_chat_is_one_line(model, tmp_path, content, message):
    (tmp_path / "b.jsonl").write_bytes(content)
    done = run(model, tmp_path / "data/train.h5", tmp_path / "b.jsonl")
    assert done.returncode == 3
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "data").iterdir()) == []


def test_bad_chats_can_be_left_out_and_are_counted(model, tmp_path):
    (tmp_path / "b.jsonl").write_bytes(GOOD + turns("user") + b"\n" + turns("assistant") + b"\n" + GOOD)
    done = run(model, tmp_path / "train.h5", "--source", f"{tmp_path / 'b.jsonl'}:2", "--bad-chats", "drop")
    assert done.returncode == 0, done.stderr
    assert documents(tmp_path / "train.h5", model) == [WRITTEN] * 4
    assert "2 bad chats were left out, the first: " in done.stdout and "b.jsonl:2: the chat has no assistant turn" in done.stdout


@pytest.mark.parametrize(
    "template, message",
    [
        ("line\n{% if %}", "t.jinja:2: not a Jinja template"),
        ("line\n\n{{ raise_exception('not  like\nthis') }}", "chats.jsonl:1: the chat template fails at {folder}/t.jinja:3: not like this"),
        ("{{ messages[9].content.x }}", "chats.jsonl:1: the chat template fails at {folder}/t.jinja:1: "),
        ("{% for m in messages %}<|a|>{% for part in m.content %}{{ part.text }}{% endfor %}<|z|>{% endfor %}", "t.jinja) does not write the words of turn 2"),
        ("{{ ''.__class__.__mro__ }}", "t.jinja:1: access to attribute '__class__' of 'str' object is unsafe"),
    ],
)
def test_a_template_error_names_its_place(model, tmp_path, template, message):
    (tmp_path / "t.jinja").write_text(template)
    done = run(model, tmp_path / "train.h5", lines(tmp_path / "chats.jsonl", ASKED), "--chat-template", tmp_path / "t.jinja")
    assert done.returncode == 3
    assert message.replace("{folder}", str(tmp_path)) in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_model_without_template_takes_the_plain_one(model, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    (tmp_path / "base/tokenizer_config.json").write_text(json.dumps({"eos_token": "<|z|>", "bos_token": "<|a|>"}))
    source = lines(tmp_path / "pairs.jsonl", {"prompt": "Q: ", "completion": "A"})
    done = run(tmp_path / "base", tmp_path / "train.h5", source)
    assert done.returncode == 3 and "the model has no chat template; name one with --chat-template FILE (or plain" in done.stderr
    assert run(tmp_path / "base", tmp_path / "train.h5", source, "--chat-template", "plain").returncode == 0
    assert documents(tmp_path / "train.h5", model) == [("<|a|>Q: A<|z|>", "A<|z|>")]


def test_templates_know_the_date_their_options_and_the_generation_tag(model, tmp_path):
    template = tmp_path / "t.jinja"
    template.write_text("{{ strftime_now('%d %b %Y') }} {{ mood }} {{ {'a': '<'} | tojson }}{% for m in messages %}<|a|>{{ m.role }}:{% generation %}{{ m.content }}{% endgeneration %}<|z|>{% endfor %}"
                        "{% if add_generation_prompt %}<|a|>assistant:{% endif %}")
    source = lines(tmp_path / "chats.jsonl", ASKED)
    found = prepared(model, tmp_path, source, "--chat-template", template, "--date", "2026-01-31", "--template-option", "mood=true")
    assert found == [('31 Jan 2026 True {"a": "<"}<|a|>user:Q<|z|><|a|>assistant:A<|z|>', "A<|z|>")]


def test_an_old_template_without_generation_prompt_does_not_train_the_header(model, tmp_path):
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}<|a|>{{ m.role }}\n{{ m.content }}<|z|>\n{% endfor %}")
    assert prepared(model, tmp_path, lines(tmp_path / "chats.jsonl", ASKED), "--chat-template", template)[0][1] == "A<|z|>"


def test_a_prompt_that_opens_a_thought_which_the_reply_lacks(model, tmp_path):
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}<|a|>{{ m.role }}\n{{ m.content }}<|z|>\n{% endfor %}{% if add_generation_prompt %}<|a|>assistant\n<think>\n{% endif %}")
    source = lines(tmp_path / "chats.jsonl", chat("Q", "<b>A</b>"), chat("Q", "<think>\nhm"))
    assert [trained for _, trained in prepared(model, tmp_path, source, "--chat-template", template)] == ["<b>A</b><|z|>", "hm<|z|>"]


def test_a_missing_column_of_a_table_is_named(model, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"], "number": [1]}), tmp_path / "t.parquet")
    done = run(model, tmp_path / "train.h5", tmp_path / "t.parquet")
    assert done.returncode == 3
    assert 't.parquet: no "messages" or ' in done.stderr and '"text" (columns here: body, number); name the text with --field' in done.stderr
    done = run(model, tmp_path / "train.h5", tmp_path / "t.parquet", "--columns", "messages=dialog")
    assert 't.parquet: no "dialog" (columns here: body, number)' in done.stderr and len(done.stderr.splitlines()) == 1
    assert run(model, tmp_path / "train.h5", tmp_path / "t.parquet", "--field", "body").returncode == 0


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.jsonl.zst"])
def test_damaged_files_are_one_line(model, tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    done = run(model, tmp_path / "train.h5", tmp_path / name)
    assert done.returncode == 3 and f"{name}: cannot be read" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_zst_file_that_is_cut_off_is_no_silent_end(model, tmp_path):
    packed = zstandard.compress(b"".join(json.dumps(chat(str(number))).encode() + b"\n" for number in range(5000)))
    (tmp_path / "t.jsonl.zst").write_bytes(packed[:-20])
    done = run(model, tmp_path / "train.h5", tmp_path / "t.jsonl.zst")
    assert done.returncode == 3 and "t.jsonl.zst: cannot be read: the file ends in the middle" in done.stderr


@pytest.mark.parametrize("name, package", [("t.parquet", "pyarrow"), ("t.jsonl.zst", "zstandard")])
def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(model, tmp_path, name, package):
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / f"modules/{package}").mkdir(parents=True)
    (tmp_path / f"modules/{package}/__init__.py").write_text("raise ImportError")
    done = run(model, tmp_path / "train.h5", tmp_path / name, PYTHONPATH=str(tmp_path / "modules"))
    assert done.returncode == 3
    assert f"needs the Python package {package}; .venv/bin/python -m pip install -r launch/requirements-data.txt" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--columns", "mesages=x"), "write NAME=COLUMN with a NAME of completion, "),
        (("--source", "x:0"), "a weight must be above 0 and at most 1000"),
        (("--sequence-length", "0"), "a whole number of at least 1 is needed"),
        (("--date", "31.1."), "write a day as 2026-01-31"),
    ],
)
def test_wrong_options_are_usage(model, tmp_path, arguments, message):
    done = run(model, tmp_path / "train.h5", *arguments)
    assert done.returncode == 2 and message in done.stderr
