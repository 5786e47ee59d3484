"""Pieces of text out of any file: texts as they are, records of text, and chats as the template writes them."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Iterator, Optional

from chat_records import BadChat, Columns, chat_of
from source_files import TABLE_SUFFIXES, BadInput, columns_of, kind_of, needed, read_records
from text_sources import Piece, read_text


@dataclass
class ChatPolicy:
    """How chats are written, and what becomes of those that cannot be."""

    template: Optional[str] = None  # a file, or plain; None: the model's own
    options: dict = field(default_factory=dict)
    now: datetime = field(default_factory=datetime.now)
    split_rewritten: bool = True
    drop_bad: bool = False


class RecordPieces:
    """Reads files for the model in `folder`, whose tokenizer has the `special` tokens."""

    def __init__(self, folder: Path, special: list, columns: Columns, policy: ChatPolicy):
        self._folder, self._special, self._columns, self._policy = folder, special, columns, policy
        self._template = self._documents = None  # loaded with the first chat
        self.split = 0  # conversations that became several documents
        self.dropped, self.first_dropped = 0, ""  # chats left out, and why the first one was

    def attributes(self) -> dict:
        """What the token set's file records of the chats' template."""
        return {"chat_template_sha256": self._template.sha256} if self._template else {}

    def of_file(self, path: Path, alone: bool, again: bool = False) -> Iterator[Piece]:
        """The pieces of one file; one that is a source `alone` must not be empty. What is read `again` is not counted again."""
        try:
            if alone and path.stat().st_size == 0:
                raise BadInput(f"{path}: the file is empty; name another, or leave it out")
            if kind_of(path) == "text":
                yield from read_text(path)
            else:
                yield from self._of_records(path, again)
        except (OSError, EOFError) as error:
            raise BadInput(f"{path}: cannot be read: {error}") from None

    def _of_records(self, path: Path, again: bool) -> Iterator[Piece]:
        form = None
        if f".{kind_of(path)}" in TABLE_SUFFIXES:
            form = self._columns.form_of(columns_of(path), str(path), "columns")
        for place, record in read_records(path):
            if not isinstance(record, dict):
                raise BadInput(f"{place}: no object with fields, but a {type(record).__name__}; every record must be one")
            form = form or self._columns.form_of(record, place, "fields")
            if form == "text":
                yield self._text(record, place)
            else:
                documents = self._chat(record, form, place, again)
                for number, (text, spans) in enumerate(documents, start=1):
                    yield Piece(text, last=True, trained=spans, ends_record=number == len(documents), place=place)

    def _text(self, record: dict, place: str) -> Piece:
        name = self._columns["text"]
        if not isinstance(record.get(name), str):
            raise BadInput(f'{place}: no text in "{name}" (fields here: {", ".join(record)}); name the field with --field')
        return Piece(record[name], last=True, place=place)

    def _chat(self, record: dict, form: str, place: str, again: bool) -> list:
        try:
            documents = self._writer(place).of(chat_of(record, form, self._columns, place), place)
        except BadChat as error:
            if not self._policy.drop_bad:
                raise
            self.dropped, self.first_dropped = self.dropped + (not again), self.first_dropped or str(error)
            return []
        self.split += len(documents) > 1 and not again
        return documents

    def _writer(self, place: str):
        if self._documents is None:
            needed("jinja2", place)
            from chat_documents import ChatDocuments  # with Jinja, which texts do not need
            from chat_template import load_template

            self._template = load_template(self._folder, self._policy.template, self._policy.now, self._policy.options)
            self._documents = ChatDocuments(self._template, self._special, self._policy.split_rewritten)
        return self._documents
