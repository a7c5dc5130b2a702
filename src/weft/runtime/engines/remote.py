"""An OpenAI-compatible server as an engine: chat, completions, transcription and speech over HTTP.

A request is tried again only while nothing of its answer has come: where the connection cannot be made or is lost, and
on 429 and 5xx, after what Retry-After asks or a growing pause, as long as the budget of time and tries lasts. A stream
that breaks off later fails its step, since its beginning is out already. Everything read is bounded.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from weft.core.errors import MissingProgramError, StepFailedError
from weft.core.message import Message
from weft.runtime.engines.remote_wire import End, Event, Piece, Reply, body_of
from weft.runtime.remote_spec import RemoteSpec
from weft.runtime.reply_terms import Attributes

try:
    import httpx
except ImportError as error:
    raise MissingProgramError(
        subject="package 'httpx'", problem="is not installed", way_out="run: pip install weft[remote]"
    ) from error

RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
FIRST_PAUSE_S = 0.25
MAX_EVENT_BYTES = 1024**2
MAX_AUDIO_BYTES = 256 * 1024**2
MAX_ERROR_CHARACTERS = 300


class _Transcript(msgspec.Struct, frozen=True):
    text: str


_EVENTS = msgspec.json.Decoder(Event)
_TRANSCRIPTS = msgspec.json.Decoder(_Transcript)


class RemoteServer:
    """One server; requests run side by side."""

    def __init__(self, spec: RemoteSpec, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.spec = spec
        limit = httpx.Timeout(spec.patience_s, connect=min(10.0, spec.patience_s))
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=32)
        self._client = httpx.AsyncClient(
            base_url=spec.url.rstrip("/") + "/", timeout=limit, limits=limits, headers=_key(spec), transport=transport
        )

    async def close(self) -> None:
        await self._client.aclose()

    def chat(self, messages: Sequence[Message], attributes: Attributes) -> AsyncGenerator[Piece | End, None]:
        """Pieces of the reply as they come; then how it ended, its tool calls, and what the server counted."""
        return self._stream("chat/completions", body_of(messages, attributes))

    def complete(self, prompt: str, max_tokens: int) -> AsyncGenerator[Piece | End, None]:
        return self._stream("completions", {"prompt": prompt, "max_tokens": max_tokens})

    async def transcribe(self, wav: bytes) -> str:
        body = {"files": {"file": ("audio.wav", wav, "audio/wav")}, "data": {"model": self.spec.name}}
        data = await self._whole("audio/transcriptions", MAX_EVENT_BYTES, **body)
        try:
            return _TRANSCRIPTS.decode(data).text
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._failed(f"gave no transcript ({error})", "look at the server's log") from error

    async def speak(self, text: str, voice: str) -> bytes:
        """A wav file."""
        told = {"model": self.spec.name, "input": text, "voice": voice, "response_format": "wav"}
        wav = await self._whole("audio/speech", MAX_AUDIO_BYTES, json=told)
        if not wav.startswith(b"RIFF"):
            raise self._failed(
                f"spoke {wav[:12]!r}…, which is no wav file", "use a server that knows response_format wav"
            )
        return wav

    async def _stream(self, path: str, told: Mapping[str, Any]) -> AsyncGenerator[Piece | End, None]:
        body = {"model": self.spec.name, "stream": True, "stream_options": {"include_usage": True}, **told}
        response = await self._opened(path, json=body)
        reply = Reply()
        try:
            async for event in self._events(response):
                for piece in reply.take(event):
                    yield piece
        finally:
            await response.aclose()
        if not reply.finished:
            raise self._failed("ended its reply without a finish_reason", "run it again: the reply is cut short")
        yield reply.end()

    async def _events(self, response: httpx.Response) -> AsyncIterator[Event]:
        async for line in self._lines(response):
            if not line.startswith(b"data:"):
                continue  # comments that keep a connection alive, names of events
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            try:
                event = _EVENTS.decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise self._failed(f"sent {data[:60]!r}, which is no event ({error})", "use /v1 of the API") from error
            if event.error is not None:
                raise self._failed(f"broke off: {str(event.error)[:MAX_ERROR_CHARACTERS]}", "look at the server's log")
            yield event

    async def _lines(self, response: httpx.Response) -> AsyncIterator[bytes]:
        held = b""
        try:
            async for data in response.aiter_bytes():
                *lines, held = (held + data).split(b"\n")
                if len(held) > MAX_EVENT_BYTES:
                    raise self._failed(f"sent a line of over {MAX_EVENT_BYTES:,} bytes", "use a server of the API")
                for line in lines:
                    yield line.rstrip(b"\r")
        except httpx.TimeoutException as error:
            raise self._failed(
                f"sent nothing for {self.spec.patience_s:g} s", "raise patience_s, or ask it less"
            ) from error
        except httpx.HTTPError as error:
            raise self._failed(f"was lost in mid-reply ({_named(error)})", "run it again") from error
        yield held

    async def _whole(self, path: str, limit_bytes: int, **body: Any) -> bytes:
        response, data = await self._opened(path, **body), bytearray()
        try:
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > limit_bytes:
                    raise self._failed(f"gave more than {limit_bytes:,} bytes", "ask for less")
        except httpx.HTTPError as error:
            raise self._failed(f"was lost in mid-reply ({_named(error)})", "run it again") from error
        finally:
            await response.aclose()
        return bytes(data)

    async def _opened(self, path: str, **body: Any) -> httpx.Response:
        """An answer with status 200 whose body is still to come."""
        loop = asyncio.get_running_loop()
        until_s, pause_s = loop.time() + self.spec.retry_s, FIRST_PAUSE_S
        for attempt in range(1, self.spec.tries + 1):
            try:
                response = await self._client.send(self._client.build_request("POST", path, **body), stream=True)
            except httpx.HTTPError as error:
                asked_s, problem = None, f"cannot be reached ({_named(error)})"
            else:
                if response.status_code == 200:
                    return response
                asked_s, problem = _retry_after(response), await _problem(response)
                if response.status_code not in RETRIED:
                    raise self._failed(problem, "mend the model's name, the key or what is asked")
            wait_s = pause_s if asked_s is None else asked_s
            if attempt == self.spec.tries or loop.time() + wait_s > until_s:
                raise self._failed(f"{problem} after {attempt} tries", "raise tries and retry_s, or use another server")
            await asyncio.sleep(wait_s)
            pause_s *= 2
        raise AssertionError("the last try returns or raises")

    def _failed(self, problem: str, way_out: str) -> StepFailedError:
        return StepFailedError(subject=f"server {self.spec.url}", problem=problem, way_out=way_out)


def _key(spec: RemoteSpec) -> dict[str, str]:
    if spec.key_env is None:
        return {}
    key = os.environ.get(spec.key_env)
    if not key:
        raise StepFailedError(
            subject=f"server {spec.url}", problem=f"wants a key; {spec.key_env} is not set", way_out="export it"
        )
    return {"Authorization": f"Bearer {key}"}


def _retry_after(response: httpx.Response) -> float | None:
    """In seconds; a date, which the header may also hold, is not waited for."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.replace(".", "", 1).isdecimal() else None


async def _problem(response: httpx.Response) -> str:
    said = b""
    try:
        async for piece in response.aiter_bytes():
            said += piece
            if len(said) > MAX_ERROR_CHARACTERS:
                break
    except httpx.HTTPError:
        pass
    finally:
        await response.aclose()
    return f"answered {response.status_code}: {said[:MAX_ERROR_CHARACTERS].decode(errors='replace').strip()}"


def _named(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
