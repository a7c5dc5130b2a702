# pyright: standard
"""Between messages and tokens: the checkpoint's own tokenizer and chat template."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import transformers

from weft.core.errors import CheckpointError, NoToolsError
from weft.core.message import Called, Message
from weft.runtime.engines.grammar import Grammars
from weft.runtime.engines.tool_calls import MARKING, MARKS

REPLACEMENT = "\ufffd"  # what a tokenizer shows for a character whose bytes are not all there yet


class Chat:
    def __init__(self, tokenizer: Any, stop_tokens: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self.stop_tokens = stop_tokens

    @classmethod
    def load(cls, directory: Path) -> "Chat":
        try:
            tokenizer = _tokenizer_class(directory).from_pretrained(directory, local_files_only=True)
        except (OSError, ValueError, ImportError) as error:
            raise CheckpointError(
                subject=str(directory),
                problem=f"has no tokenizer that loads ({error})",
                way_out="add the tokenizer.json and tokenizer_config.json the model was saved with",
            ) from error
        if not tokenizer.chat_template:
            raise CheckpointError(
                subject=str(directory),
                problem="has no chat template",
                way_out="add chat_template to tokenizer_config.json, or use the instruction-tuned model",
            )
        return cls(tokenizer, _stop_tokens(directory, tokenizer.eos_token_id))

    def encode(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """The prompt that asks for the assistant's next turn, in which it may call `tools`."""
        if tools and "tools" not in self._template:
            raise NoToolsError(
                subject="tools",
                problem="are not known to this model's chat template",
                way_out="use a model that was trained to call tools, or ask without",
            )
        conversation = [_as_template_takes(message) for message in messages]
        text = self._tokenizer.apply_chat_template(
            conversation, tools=[*tools] or None, tokenize=False, add_generation_prompt=True
        )
        return self._tokenizer.encode(text, add_special_tokens=False)  # the template has written them

    @cached_property
    def notation(self) -> str:
        """In which this model writes tool calls, as far as its chat template shows."""
        return next((name for name, mark in MARKS.items() if mark in self._template), "llama3")

    @cached_property
    def _template(self) -> str:
        return self._tokenizer.get_chat_template(tools=[{}])

    def grammars(self, vocab: int) -> Grammars:
        """For constraints on replies; `vocab` is the model's, perhaps larger than the tokenizer's."""
        return Grammars(self._tokenizer, vocab, self.stop_tokens)

    def decode(self, tokens: Sequence[int], *, marks: bool = False) -> str:
        """Without special tokens, but (with `marks`) those that are part of a tool call."""
        if marks and self._marks:
            shown = [token for token in tokens if token in self._marks or token not in self._special]
            return self._tokenizer.decode(shown)
        return self._tokenizer.decode(tokens, skip_special_tokens=True)

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(index for index, token in self._tokenizer.added_tokens_decoder.items() if token.special)

    @cached_property
    def _marks(self) -> frozenset[int]:
        added = self._tokenizer.added_tokens_decoder
        return frozenset(index for index in self._special if added[index].content in MARKING)


class TextStream:
    """Tokens → pieces of text. A piece waits until its last character is whole; joined pieces are the reply."""

    def __init__(self, chat: Chat, *, marks: bool = False) -> None:
        self._chat = chat
        self._marks = marks
        self._tokens: list[int] = []
        self._context = 0  # tokens from here are decoded again: what they become depends on their neighbours
        self._given = 0  # tokens whose text has been given
        self.text = ""

    def push(self, token: int) -> str:
        self._tokens.append(token)
        return self._take(final=False)

    def finish(self) -> str:
        """What was still held back."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> str:
        before = self._chat.decode(self._tokens[self._context : self._given], marks=self._marks)
        after = self._chat.decode(self._tokens[self._context :], marks=self._marks)
        if after.endswith(REPLACEMENT) and not final:
            return ""
        self._context, self._given = self._given, len(self._tokens)
        piece = after[len(before) :]
        self.text += piece
        return piece


def _as_template_takes(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in message.calls
        ]
    if message.call_id:
        told["tool_call_id"] = message.call_id
    return told


def _arguments(call: Called) -> Any:
    """Templates write them as JSON: of a text that is none they make a JSON string."""
    try:
        return json.loads(call.arguments)
    except ValueError:
        return call.arguments


def _tokenizer_class(directory: Path) -> Any:
    """tokenizer.json says everything; AutoTokenizer, which also reads older files, takes 1.5 s longer to come up."""
    whole = (directory / "tokenizer.json").is_file()
    return transformers.PreTrainedTokenizerFast if whole else transformers.AutoTokenizer


def _stop_tokens(directory: Path, eos: int | None) -> frozenset[int]:
    """The tokenizer's end token and those of generation_config.json (chat models often have several)."""
    stops = {eos} if eos is not None else set()
    path = directory / "generation_config.json"
    if path.is_file():
        named = json.loads(path.read_text("utf-8")).get("eos_token_id")
        stops.update(named if isinstance(named, list) else [named] if named is not None else [])
    return frozenset(stops)
