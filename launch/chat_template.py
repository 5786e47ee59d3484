"""A model's chat template, rendered as transformers renders it."""

import hashlib
import json
from datetime import datetime
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from source_files import BadInput

# For models without a template: the turns as they are, the tokenizer's end of sequence after each reply.
PLAIN = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_REASONING = ("reasoning_content", "thinking", "reasoning")  # names of one thing


class TemplateFailure(Exception):
    """A template refuses a conversation; the message names the template's line."""


class _Generation(jinja2.ext.Extension):
    """Reads {% generation %} … {% endgeneration %} as what stands inside."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def _raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment(now: datetime) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = now.strftime
    return environment


def _line_of(error: Exception) -> int:
    """The template's line where `error` arose: the innermost frame that Jinja made of the template."""
    line, frame = 0, error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _without_nothing(message: dict) -> dict:
    """The message as transformers hands it to a template: without empty keys, and reasoning under the names that templates read."""
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next((message[name] for name in _REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


class ChatTemplate:
    """Renders conversations. `tokens` are the special tokens by their names, `options` what the template's user may choose."""

    def __init__(self, source: str, name: str, tokens: dict, now: datetime, options: dict):
        self.name, self.sha256 = name, hashlib.sha256(source.encode()).hexdigest()
        self.end_of_sequence = tokens.get("eos_token", "")
        self._given = {"documents": None, **tokens, **options}
        try:
            self._template = _environment(now).from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise BadInput(f"{name}:{error.lineno}: not a Jinja template: {error.message}; repair it or name another with --chat-template") from None

    def render(self, messages: list, tools: list, add_generation_prompt: bool = False) -> str:
        given = {**self._given, "messages": [_without_nothing(message) for message in messages], "tools": tools}
        try:
            return self._template.render(**given, add_generation_prompt=add_generation_prompt)
        except Exception as error:  # whatever an expression of the template raises is the template's fault or the chat's
            reason = str(error).strip() or type(error).__name__
            raise TemplateFailure(f"the chat template fails at {self.name}:{_line_of(error)}: {' '.join(reason.split())}") from None


def _json_file(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error}); fetch the model's folder once more") from None


def special_tokens(folder: Path) -> dict:
    """The tokens that a model's folder names, as templates know them."""
    named = {**_json_file(folder / "special_tokens_map.json"), **_json_file(folder / "tokenizer_config.json")}
    contents = {name: named[name].get("content") if isinstance(named[name], dict) else named[name] for name in _TOKENS if named.get(name)}
    return {name: content for name, content in contents.items() if content}


def _own_template(folder: Path) -> tuple:
    """The template of a model's folder and where it stands, in the order of transformers."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8"), str(file)
    for file in (folder / "tokenizer_config.json", folder / "chat_template.json"):
        template = _json_file(file).get("chat_template")
        if isinstance(template, list):  # several with names
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        if template:
            return template, str(file)
    raise BadInput(f"{folder}: the model has no chat template; name one with --chat-template FILE (or plain: the turns as they are, each reply ended)")


def load_template(folder: Path, asked: str, now: datetime, options: dict) -> ChatTemplate:
    """The template asked for (a file, or `plain`), else the model's own."""
    tokens = special_tokens(folder)
    if asked == "plain":
        return ChatTemplate(PLAIN, "plain", tokens, now, options)
    if asked is None:
        source, name = _own_template(folder)
        return ChatTemplate(source, name, tokens, now, options)
    try:
        return ChatTemplate(Path(asked).read_text(encoding="utf-8"), asked, tokens, now, options)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{asked}: no template can be read there ({error}); --chat-template takes a file, or plain") from None
