"""/v1/audio/*: an agent that hears and writes is a transcription model; one that reads and speaks is a voice."""

from collections.abc import AsyncIterator
from typing import Literal

from msgspec import Struct
from python_multipart import FormParser
from python_multipart.multipart import Field, File, parse_options_header

from weft.runtime.steps.audio import Audio
from weft.runtime.values import Value
from weft.serve.agents import ServedAgent
from weft.serve.api.errors import invalid
from weft.serve.api.http import not_taken
from weft.serve.api.reply import Reply
from weft.serve.hints import RunHints

FORMATS = ("json", "text")
PCM_HZ = 24_000


class SpeechRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What /v1/audio/speech takes. The voice is the agent's own: the client's types ask for one, and get it."""

    model: str
    input: str
    voice: str | dict[str, str] | None = None
    response_format: Literal["wav", "pcm"] = "wav"
    stream_format: Literal["audio"] | None = None


class TranscriptionRequest(Struct, frozen=True):
    model: str
    wav: bytes
    response_format: str
    stream: bool


def transcription_request(content_type: str, body: bytes) -> TranscriptionRequest:
    """Reads a multipart form: `file`, `model`, `response_format`, `stream`. Raises ApiError 400."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise invalid("send multipart/form-data with `file` and `model`", code="invalid_form")
    fields, files = dict[str, str](), dict[str, bytes]()

    def on_field(field: Field) -> None:
        fields[_name(field.field_name)] = (field.value or b"").decode("utf-8", "replace")

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        files[_name(file.field_name)] = file.file_object.read()

    parser = FormParser("multipart/form-data", on_field, on_file, boundary=options[b"boundary"])
    try:
        parser.write(body)
        parser.finalize()
    except ValueError as error:
        raise invalid(f"the form cannot be read: {error}", code="invalid_form") from None
    return _checked(fields, files)


def _checked(fields: dict[str, str], files: dict[str, bytes]) -> TranscriptionRequest:
    for name in fields.keys() - {"model", "response_format", "stream"}:
        raise not_taken(name)
    for name, given in (("model", fields), ("file", files)):
        if name not in given:
            raise invalid(f"the form has no {name}", name)
    wanted = fields.get("response_format", "json")
    if wanted not in FORMATS:
        message = f"{wanted!r} is not given here, as agents tell no times: choose one of {', '.join(FORMATS)}"
        raise invalid(message, "response_format")
    return TranscriptionRequest(fields["model"], files["file"], wanted, fields.get("stream") == "true")


def transcribing(agent: ServedAgent, wav: bytes, hints: RunHints) -> Reply:
    """Raises ApiError 400 where the agent does not listen."""
    return _reply(agent, "audio", "listen", wav, hints)


async def heard(reply: Reply) -> AsyncIterator[dict[str, object]]:
    """What is heard as it is written, then all of it."""
    said = ""
    async for piece in reply.pieces():
        if isinstance(piece, str):
            said += piece
            yield {"type": "transcript.text.delta", "delta": piece}
    yield {"type": "transcript.text.done", "text": said or reply.words}


def as_asked(request: SpeechRequest, wav: bytes) -> tuple[bytes, str]:
    """The sound and its content type: as it was made, or bare samples as OpenAI's are, 16 bits little-endian."""
    if request.response_format == "wav":
        return wav, "audio/wav"
    return Audio.from_wav_bytes(wav).resample(PCM_HZ).to_pcm_bytes(), "audio/pcm"


def speaking(agent: ServedAgent, text: str, hints: RunHints) -> Reply:
    """Raises ApiError 400 where the agent does not read."""
    if not text:
        raise invalid("there is nothing to say", "input")
    return _reply(agent, "text", "read", text, hints)


def _reply(agent: ServedAgent, kind: str, does: str, value: Value, hints: RunHints) -> Reply:
    program = agent.deployment.program
    if program.input_types != (kind,):
        raise invalid(f"agent {agent.name!r} does not {does}: it takes {', '.join(program.input_types)}", "model")
    return Reply(agent, {program.entry.parameters[0]: value}, hints=hints)


def _name(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")
