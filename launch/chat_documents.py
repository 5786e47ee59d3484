"""Finds where a chat template writes the assistant's turns, and makes documents of them.

A template is a program; that it keeps what it has written is checked, never assumed: the turns up to a reply, with and without
the reply, must each be the beginning of the full text. Where a template rewrites earlier turns, each reply gets a document of its own.
"""

import os
import re

from chat_records import BadChat, Chat
from chat_template import ChatTemplate, TemplateFailure
from source_files import BadInput


class _Rewritten(Exception):
    """The template writes the turns before one of the replies differently later on; the argument is the reply's position."""


def is_assistant(message: dict) -> bool:
    return message["role"] == "assistant"


class ChatDocuments:
    """Makes (text, spans) of conversations. `closing` are the special tokens that may end a turn."""

    def __init__(self, template: ChatTemplate, closing: list, split_rewritten: bool):
        self._template, self._split_rewritten = template, split_rewritten
        self._closing = tuple(token for token in closing if token)
        self._opens_replies = None  # whether the template knows add_generation_prompt; settled at the first reply

    def of(self, chat: Chat, place: str) -> list:
        """The documents of one conversation."""
        replies = [position for position, message in enumerate(chat.messages) if is_assistant(message)]
        try:
            return self._documents(chat, replies, place)
        except TemplateFailure as error:
            raise BadChat(f"{place}: {error}; mend the chat, or name another template with --chat-template") from None

    def _documents(self, chat: Chat, replies: list, place: str) -> list:
        try:
            full = self._template.render(chat.messages, chat.tools)
            spans = [self._span(chat, position, full) for position in replies]
            self._check_words(chat, replies, full, spans, place)
            return [(full, spans)]
        except _Rewritten as error:
            if len(replies) > 1 and not self._split_rewritten:
                raise BadInput(
                    f"{place}: the chat template ({self._template.name}) rewrites what stands before or in turn {error.args[0] + 1} when the chat goes on; "
                    "--rewriting-templates split makes one document of each reply"
                ) from None
        documents = []
        for position in replies:
            part = Chat(chat.messages[: position + 1], chat.tools)
            full = self._template.render(part.messages, part.tools)
            try:
                spans = [self._span(part, position, full)]
                self._check_words(part, [position], full, spans, place)
                documents.append((full, spans))
            except _Rewritten:
                raise BadInput(
                    f"{place}: the chat template ({self._template.name}) writes the turns before turn {position + 1} differently once its reply follows, "
                    "so that no prompt would be like those trained on; name another template with --chat-template"
                ) from None
        return documents

    def _check_words(self, chat: Chat, replies: list, full: str, spans: list, place: str) -> None:
        """Templates of models that see pictures pass over content that is no list, without a word."""
        for position, (begin, end) in zip(replies, spans):
            words = re.findall(r"\w+", chat.messages[position]["content"])
            if words and words[-1] not in full[begin:end]:
                raise BadInput(
                    f"{place}: the chat template ({self._template.name}) does not write the words of turn {position + 1}; it may want content in parts, "
                    "as for models that see pictures; name another with --chat-template"
                )

    def _span(self, chat: Chat, position: int, full: str) -> tuple:
        """Where in `full` the reply at `position` stands: from the end of the prompt to the end of the turn."""
        until = full
        if position + 1 < len(chat.messages):
            until = self._begins(self._template.render(chat.messages[: position + 1], chat.tools), full, position)
        prompt = self._template.render(chat.messages[:position], chat.tools, add_generation_prompt=True)
        begin = len(prompt)
        if not until.startswith(prompt):  # the prompt may open a thought that this reply does not have
            before = self._begins(self._template.render(chat.messages[:position], chat.tools), until, position)
            shared = os.path.commonprefix([prompt, until])
            begin = max(len(before), shared.rfind("\n") + 1, shared.rfind(">") + 1)
        elif not self._opens(chat, position, prompt):  # the line that opens the turn is no part of the reply
            content = until.find(chat.messages[position]["content"].strip(), begin)
            begin = max(begin, until.rfind("\n", begin, content) + 1)
        turn = until[begin:].rstrip()
        end = begin + len(turn) if turn.endswith(self._closing) else len(until)
        return begin, end

    def _opens(self, chat: Chat, position: int, prompt: str) -> bool:
        if self._opens_replies is None:
            self._opens_replies = self._template.render(chat.messages[:position], chat.tools) != prompt
        return self._opens_replies

    def _begins(self, text: str, whole: str, position: int) -> str:
        """`text` where `whole` begins with it, else without the end of sequence that some templates put behind any chat."""
        if whole.startswith(text):
            return text
        ending = self._template.end_of_sequence
        shorter = text.rstrip().removesuffix(ending) if ending else text
        if shorter == text or not whole.startswith(shorter):
            raise _Rewritten(position)
        return shorter
