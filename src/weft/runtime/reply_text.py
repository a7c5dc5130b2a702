"""The text of one reply as it comes: characters made whole, stop strings cut off, tool calls taken out."""

from weft.runtime.engines.chat import Chat, TextStream
from weft.runtime.engines.requests import Emitted
from weft.runtime.engines.tool_calls import CallText, ToolCall
from weft.runtime.messages import TokenLogprob
from weft.runtime.reply_terms import Attributes, stops_of, tools_of


class ReplyText:
    """`text` is what it says so far; `calls` are there once it is finished."""

    def __init__(self, chat: Chat, attributes: Attributes) -> None:
        with_tools = bool(tools_of(attributes))
        self.text = ""
        self.calls: tuple[ToolCall, ...] = ()
        self._chat = chat
        self._stream = TextStream(chat, marks=with_tools)
        self._stops = stops_of(attributes)
        self._call_text = CallText(chat.notation) if with_tools else None

    @property
    def stopped(self) -> bool:
        """A stop string came."""
        return self._stops.stopped

    def push(self, token: int) -> str:
        """What may be told now; a stop token says nothing."""
        return self._told("" if token in self._chat.stop_tokens else self._stops.push(self._stream.push(token)))

    def finish(self) -> str:
        """What was still held back, without the calls."""
        rest = self._told(self._stops.push(self._stream.finish()) + self._stops.finish())
        if self._call_text is None:
            return rest
        parsed = self._call_text.finish()
        self.calls = parsed.calls
        self.text += parsed.text
        return rest + parsed.text

    def logprobs(self, emitted: Emitted) -> tuple[TokenLogprob, ...]:
        """The token's own, then the best alternatives'; nothing where they were not asked."""
        if emitted.logprob is None:
            return ()
        pairs = ((emitted.token, emitted.logprob), *emitted.top)
        return tuple(TokenLogprob(token, self._chat.decode([token]), logprob) for token, logprob in pairs)

    def _told(self, piece: str) -> str:
        piece = piece if self._call_text is None else self._call_text.push(piece)
        self.text += piece
        return piece
