"""Recognizes what a record holds by its fields, and turns every form of chat into messages."""

import json
from dataclasses import dataclass, field

from source_files import BadInput

# The fields that tell a form, by the names that --columns can map to others.
FORMS = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "completion": ("prompt", "completion"),
    "text": ("text",),
}
COLUMNS = sorted({name for names in FORMS.values() for name in names} | {"role", "content", "from", "value", "input", "system", "tools"})
_ROLES = {
    **{name: "user" for name in ("user", "human")},
    **{name: "assistant" for name in ("assistant", "gpt", "chatgpt", "model", "bot", "bing", "bard", "function_call")},
    **{name: "tool" for name in ("tool", "observation", "function_response", "function")},
    **{name: name for name in ("system", "developer", "ipython")},
}
_KIND = {"developer": "system", "ipython": "tool"}
_MAY_FOLLOW = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"), "tool": ("tool", "assistant")}


class BadChat(BadInput):
    """One chat that cannot be used; --bad-chats drop leaves it out."""


@dataclass
class Chat:
    messages: list
    tools: list = None


@dataclass
class Columns:
    """The names of fields: ours to those of the files."""

    names: dict = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.names.get(name, name)

    def form_of(self, fields, place: str, what: str) -> str:
        """The form of records with these fields. Forms whose fields are mapped go before all others."""
        mapped = [form for form, needed in FORMS.items() if any(name in self.names for name in needed)]
        for form in mapped or FORMS:
            if all(self[name] in fields for name in FORMS[form]):
                return form
        wanted = " or ".join(" and ".join(f'"{self[name]}"' for name in FORMS[form]) for form in mapped or FORMS)
        raise BadInput(f"{place}: no {wanted} ({what} here: {', '.join(map(str, fields)) or 'none'}); name the text with --field, the {what} of chats with --columns")


def _content(value, place: str, turn: int):
    if isinstance(value, list):  # parts, as for models that see pictures
        texts = [part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None for part in value]
        if any(not isinstance(text, str) for text in texts):
            raise BadChat(f"{place}: turn {turn} holds something other than text; only text can be trained here, take it out")
        return "".join(texts)
    if value is not None and not isinstance(value, str):
        raise BadChat(f"{place}: the content of turn {turn} is no text; write it as a string")
    return value


def _message(turn, columns: Columns, place: str, number: int) -> dict:
    if not isinstance(turn, dict):
        raise BadChat(f"{place}: turn {number} is no object with a role and a content")
    role_name, content_name = (next((columns[name] for name in names if columns[name] in turn), None) for names in (("role", "from"), ("content", "value")))
    role = turn.get(role_name)
    if role_name is None or content_name is None and not turn.get("tool_calls"):
        raise BadChat(f"{place}: turn {number} has no role or no content (fields here: {', '.join(turn)}); map their names, as with --columns role=speaker,content=said")
    if role not in _ROLES:
        raise BadChat(f'{place}: turn {number} has the role "{role}"; known are {", ".join(sorted(_ROLES))}')
    others = {key: value for key, value in turn.items() if key not in (role_name, content_name)}
    content = _content(turn.get(content_name), place, number)
    if content is None and not others.get("tool_calls"):
        raise BadChat(f"{place}: turn {number} ({_ROLES[role]}) has no content; write it or take the chat out")
    return {"role": _ROLES[role], "content": "" if content is None else content, **others}


def _messages(value, columns: Columns, place: str) -> list:
    if not isinstance(value, list):
        raise BadChat(f"{place}: the turns are no list; a chat is a list of objects with a role and a content")
    return [_message(turn, columns, place, number) for number, turn in enumerate(value, start=1)]


def _text(record: dict, columns: Columns, name: str, place: str) -> str:
    value = record.get(columns[name])
    if not isinstance(value, str):
        raise BadChat(f'{place}: no text in "{columns[name]}" (fields here: {", ".join(map(str, record))}); map the names with --columns')
    return value


def _pair(record: dict, form: str, columns: Columns, place: str) -> list:
    if form == "alpaca":
        asked, more = _text(record, columns, "instruction", place), record.get(columns["input"]) or ""
        if not isinstance(more, str):
            raise BadChat(f'{place}: no text in "{columns["input"]}"; write it as a string')
        turns = [asked + (f"\n\n{more}" if more else ""), _text(record, columns, "output", place)]
    elif isinstance(record.get(columns["prompt"]), list):
        return _messages(record[columns["prompt"]], columns, place) + _messages(record.get(columns["completion"]), columns, place)
    else:
        turns = [_text(record, columns, name, place) for name in ("prompt", "completion")]
    return [{"role": role, "content": content} for role, content in zip(("user", "assistant"), turns)]


def _tools(record: dict, columns: Columns, place: str):
    tools = record.get(columns["tools"])
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except ValueError as error:
            raise BadChat(f'{place}: "{columns["tools"]}" is no JSON ({error})') from None
    if tools is not None and not isinstance(tools, list):
        raise BadChat(f'{place}: "{columns["tools"]}" is no list of tools')
    return tools or None


def check_order(messages: list, place: str) -> None:
    """A system turn may come first; then user and assistant alternate, with tools' answers after the assistant."""
    before = ""
    for number, message in enumerate(messages, start=1):
        kind = _KIND.get(message["role"], message["role"])
        if kind not in _MAY_FOLLOW[before]:
            after = f"after one of the {before}" if before else "at the beginning"
            raise BadChat(
                f"{place}: roles out of order: turn {number} is the {kind}'s {after}, where one of {' or '.join(_MAY_FOLLOW[before])} must stand; "
                "mend the chat, or leave such ones out with --bad-chats drop"
            )
        before = kind


def chat_of(record: dict, form: str, columns: Columns, place: str) -> Chat:
    """The conversation in a record. What follows the last reply would train nothing and is left out."""
    if form in ("messages", "sharegpt"):
        messages = _messages(record.get(columns[FORMS[form][0]]), columns, place)
    else:
        messages = _pair(record, form, columns, place)
    system = record.get(columns["system"])
    if isinstance(system, str) and system and (not messages or messages[0]["role"] not in ("system", "developer")):
        messages.insert(0, {"role": "system", "content": system})
    check_order(messages, place)
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if not messages:
        raise BadChat(f"{place}: the chat has no assistant turn, so that nothing would be trained; add one, or leave such chats out with --bad-chats drop")
    return Chat(messages, _tools(record, columns, place))
