"""Tokens and loss masks of chats, for the templates of real models: tokens against transformers, masks against turns put together by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import PreTrainedTokenizerFast  # noqa: E402

HERE = Path(__file__).resolve().parent
LAUNCH = HERE.parents[1] / "launch"

CHATS = {
    "single": [("user", "What is 2+2?"), ("assistant", "It is 4.")],
    "system": [("system", "Answer in one word."), ("user", "The capital of France?"), ("assistant", "Paris"), ("user", "Of Peru?"), ("assistant", "Lima")],
    "turns": [
        ("user", "Hello,  two blanks"),
        ("assistant", "Hi 😀, é and 日本\n\nnew paragraph"),
        ("user", "It is 4."),
        ("assistant", "It is 4.\n- a list\n- of two"),
        ("user", "Blanks around?  "),
        ("assistant", "blanks at the end   "),
        ("user", "[bye]\n"),
        ("assistant", "Bye"),
    ],
}


def chatml(system):
    def pieces(chat):
        if system and chat[0][0] != "system":
            yield f"<|im_start|>system\n{system}<|im_end|>\n", 0
        for role, content in chat:
            yield f"<|im_start|>{role}\n", 0
            yield f"{content}<|im_end|>", int(role == "assistant")
            yield "\n", 0

    return pieces


def llama3(chat):
    yield "<s>", 0
    for role, content in chat:
        yield f"<|start_header_id|>{role}<|end_header_id|>\n\n", 0
        yield f"{content.strip()}<|eot_id|>", int(role == "assistant")


def mistral(opening, closing, trimmed=False):
    def pieces(chat):
        yield "<s>", 0
        system = chat[0][1] + "\n\n" if chat[0][0] == "system" else ""
        for role, content in chat[1:] if system else chat:
            if role == "user":
                yield f"{opening}{system}{content}{closing}", 0
                system = ""
            else:
                yield f" {content.strip() if trimmed else content}</s>", 1

    return pieces


def phi3(chat):
    for number, (role, content) in enumerate(chat, start=1):
        yield f"<|{role}|>\n", 0
        yield f"{content}<|end|>", int(role == "assistant")
        yield "\n", int(number == len(chat))  # inside the last turn, which the end of sequence closes
    yield "</s>", 1


def gemma(chat):
    yield "<s>", 0
    for role, content in chat:
        yield f"<start_of_turn>{'model' if role == 'assistant' else role}\n", 0
        yield f"{content.strip()}<end_of_turn>", int(role == "assistant")
        yield "\n", 0


CHATML_TOKENS = ["<|im_start|>", "<|im_end|>"]
QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SMOL = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
FAMILIES = {  # pieces by hand, special tokens, end of sequence
    "smollm2": (chatml(SMOL), CHATML_TOKENS, "<|im_end|>"),
    "qwen2_5": (chatml(QWEN), CHATML_TOKENS, "<|im_end|>"),
    "llama3": (llama3, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "mistral_v0_2": (mistral(" [INST] ", " [/INST]"), [], "</s>"),
    "mistral_v0_3": (mistral("[INST] ", "[/INST]", trimmed=True), ["[INST]", "[/INST]"], "</s>"),
    "phi3": (phi3, ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"], "</s>"),
    "gemma": (gemma, ["<start_of_turn>", "<end_of_turn>"], "</s>"),
    "qwen3": (chatml(None), CHATML_TOKENS, "<|im_end|>"),
}
NO_SYSTEM = {"mistral_v0_3", "gemma"}
WORDS = ["What is the capital of France? The answer is Paris, and two blanks  end here.\n", "Answer in one word: hello, bye, a list of two\n\n"]
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level() -> Tokenizer:
    """As of Llama 3 and Qwen: the processor trims blanks off the offsets and puts a token in front, as some models' do."""
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(LLAMA3_WORDS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    begin = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), begin])
    return tokenizer


def sentence_pieces() -> Tokenizer:
    """As of Llama 2 and Mistral: blanks are ▁, one is put in front of each part, and unknown characters fall back to bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=list("[]/INST▁"), show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    raw = json.loads(tokenizer.to_str())
    raw["added_tokens"] = raw["added_tokens"][:3]  # bytes are ordinary entries
    raw["post_processor"] = json.loads(byte_level().to_str())["post_processor"]["processors"][1]
    raw["post_processor"]["special_tokens"]["<s>"]["ids"] = [1]
    return Tokenizer.from_str(json.dumps(raw))


def peer_of(family: str, folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in transformers, saved as a model's folder."""
    _, special, end = FAMILIES[family]
    tokenizer = sentence_pieces() if family == "mistral_v0_2" else byte_level()
    tokenizer.add_special_tokens(special)
    peer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token=end, chat_template=(HERE / "templates" / f"{family}.jinja").read_text(encoding="utf-8")
    )
    peer.save_pretrained(folder)
    return peer


def messages_of(chat) -> list:
    return [{"role": role, "content": content} for role, content in chat]


def run(folder: Path, output: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, LAUNCH / "prepare_text.py", "--tokenizer", folder, "--output", output, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def documents(path: Path) -> list:
    """Pairs of token ids and mask."""
    with h5py.File(path) as file:
        tokens, offsets, mask = file["tokens"][:], file["offsets"][:], file["loss_mask"][:]
        assert mask.dtype == "uint8" and len(mask) == len(tokens) and file["loss_mask"].chunks is None
    return [(tokens[a:b].tolist(), mask[a:b].tolist()) for a, b in zip(offsets[:-1], offsets[1:])]


def by_hand(peer, pieces) -> tuple:
    """The token ids of the joined pieces and their mask; no offsets are used, each boundary is counted by tokenizing what stands before it."""
    pieces = list(pieces)
    whole = peer("".join(text for text, _ in pieces), add_special_tokens=False)["input_ids"]
    mask, text = [], ""
    for piece, counts in pieces:
        text += piece
        before = peer(text, add_special_tokens=False)["input_ids"]
        assert whole[: len(before)] == before, "a token spans two pieces: choose other texts for this test"
        mask += [counts] * (len(before) - len(mask))
    return whole, mask


def written(folder: Path, tmp_path: Path, chats, *arguments) -> list:
    lines = tmp_path / "chats.jsonl"
    lines.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    done = run(folder, tmp_path / "train.h5", lines, *arguments)
    assert done.returncode == 0, done.stderr
    return documents(tmp_path / "train.h5")


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "qwen3"])
def test_tokens_are_those_of_transformers_and_the_mask_is_the_replies(family, tmp_path):
    peer = peer_of(family, tmp_path / "model")
    chats = [chat for name, chat in CHATS.items() if not (name == "system" and family in NO_SYSTEM)]
    found = written(tmp_path / "model", tmp_path, map(messages_of, chats))
    assert len(found) == len(chats)
    for chat, (ids, mask) in zip(chats, found):
        expected, expected_mask = by_hand(peer, FAMILIES[family][0](chat))
        assert expected == peer.apply_chat_template(messages_of(chat), tokenize=True)["input_ids"]
        assert ids == expected
        assert mask == expected_mask
        assert 0 < sum(mask) < len(mask)
        assert ids.count(peer.bos_token_id) == int(family[:6] in ("llama3", "mistra", "gemma"))


def qwen3_pieces(chat, reasoning=""):
    """The last reply has a thought, be it empty; earlier replies have lost theirs."""
    *before, (_, content) = chat
    yield from ((text, 0) for text, _ in chatml(None)(before))
    yield "<|im_start|>assistant\n", 0
    yield f"<think>\n{reasoning}\n</think>\n\n{content}<|im_end|>", 1
    yield "\n", 0


def test_a_template_that_rewrites_earlier_turns_gives_a_document_per_reply(tmp_path):
    peer = peer_of("qwen3", tmp_path / "model")
    parts = [chat[:end] for chat in CHATS.values() for end in range(1, len(chat) + 1) if chat[end - 1][0] == "assistant"]
    found = written(tmp_path / "model", tmp_path, map(messages_of, CHATS.values()))
    assert len(parts) == len(found) == 7
    for part, (ids, mask) in zip(parts, found):
        expected, expected_mask = by_hand(peer, qwen3_pieces(part))
        assert expected == peer.apply_chat_template(messages_of(part), tokenize=True)["input_ids"]
        assert (ids, mask) == (expected, expected_mask)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_in_a_field_of_its_own_is_trained(name, tmp_path):
    peer = peer_of("qwen3", tmp_path / "model")
    chat = messages_of(CHATS["single"])
    chat[-1][name] = "two and two"
    (ids, mask), = written(tmp_path / "model", tmp_path, [chat])
    expected, expected_mask = by_hand(peer, qwen3_pieces(CHATS["single"], "two and two"))
    assert expected == peer.apply_chat_template(chat, tokenize=True)["input_ids"]
    assert (ids, mask) == (expected, expected_mask)


def test_tools_and_their_answers_are_written_but_not_trained(tmp_path):
    peer = peer_of("qwen2_5", tmp_path / "model")
    call = {"function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
    chat = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "Four"},
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": chat, "tools": json.dumps(tools)}))
    assert run(tmp_path / "model", tmp_path / "train.h5", tmp_path / "chats.jsonl").returncode == 0
    (ids, mask), = documents(tmp_path / "train.h5")
    plain = [{**message, "content": message["content"] or ""} for message in chat]
    assert ids == peer.apply_chat_template(plain, tools=tools, tokenize=True)["input_ids"]
    trained = peer.decode([number for number, counts in zip(ids, mask) if counts], skip_special_tokens=False)
    assert trained == '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 2}}\n</tool_call><|im_end|>Four<|im_end|>'


def test_a_rewriting_template_is_refused_where_asked(tmp_path):
    peer_of("qwen3", tmp_path / "model")
    (tmp_path / "chats.jsonl").write_text("\n" + json.dumps({"messages": messages_of(CHATS["turns"])}))
    done = run(tmp_path / "model", tmp_path / "train.h5", tmp_path / "chats.jsonl", "--rewriting-templates", "error")
    assert done.returncode == 3
    assert "chats.jsonl:2: the chat template" in done.stderr and "--rewriting-templates split" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_template_that_forgets_the_system_turn_once_there_is_a_reply_is_refused(tmp_path):
    peer_of("mistral_v0_3", tmp_path / "model")
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": messages_of(CHATS["system"])}))
    done = run(tmp_path / "model", tmp_path / "train.h5", tmp_path / "chats.jsonl")
    assert done.returncode == 3
    assert "chats.jsonl:1: the chat template" in done.stderr and "name another template with --chat-template" in done.stderr
