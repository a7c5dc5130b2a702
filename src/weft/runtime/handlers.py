"""How a node runs each kind of step: one function a kind, in the table at the end.

Blocking work goes to threads. Inputs are found by type, so a step may also take values it does not need.
"""

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, cast

import msgspec

from weft.core.errors import StepFailedError
from weft.core.message import Message
from weft.core.program import GIVES, LABELS, LOOKUP, PART, THEN, StepKind
from weft.policy.block_hash import block_hashes
from weft.runtime.cache.names import check_tenant
from weft.runtime.job import Done, Handler, Job
from weft.runtime.kv.pull import KvPull
from weft.runtime.messages import NO_TOKEN, UNKNOWN_TOKEN, Ending, PhaseTimes, StepMetrics, ToolCall
from weft.runtime.reply_terms import TENANT, max_tokens_of, said_before, said_of, seconds_of, terms_of, tools_of
from weft.runtime.services import not_served
from weft.runtime.steps.glue import GLUE
from weft.runtime.steps.recall import PASSAGES, embed, found, recall, remember, search_memory
from weft.runtime.threads import in_thread, iterate_in_thread
from weft.runtime.values import Json, KvHandle, PrefixHandle, Told, as_text, as_value, plain

if TYPE_CHECKING:
    from weft.runtime.engines.base import Begun, Prefilled
    from weft.runtime.engines.remote_wire import Piece
    from weft.runtime.reply_text import ReplyText
    from weft.runtime.steps.remote_chat import RemoteChat

KV_TO = "kv_to"  # attribute of a prefill: address of the node that will be asked to take its cache
KEEP_S = "kv_keep_s"  # attribute of a decode: so long a tool may run before the conversation goes on
CALL_S = 30.0  # the same where nothing is said and the reply is a tool call
TOKEN_PACED = (StepKind.PREFILL, StepKind.DECODE)  # their engine keeps the pace


async def run_job(job: Job) -> Done:
    """Runs the step; an emulated one that has no tokens is held until the time that its route assumed."""
    if job.call.kind not in job.services.spec.kinds:
        raise not_served(job.call.step, job.services.spec)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    done = await HANDLERS[job.call.kind](job)
    pace = job.services.spec.paces.get(job.call.step)
    if pace is None or job.call.kind in TOKEN_PACED:
        return done
    ahead_s = started_s + pace.latency_s - loop.time()
    await asyncio.sleep(max(0.0, ahead_s))
    metrics = msgspec.structs.replace(done.metrics, emulated=True, late_s=max(0.0, -ahead_s))
    return Done(done.outputs, metrics)


async def take_in(job: Job) -> Done:
    """What comes in goes on; an input has nothing else to do here."""
    return Done(job.inputs)


async def prefix(job: Job) -> Done:
    """Prompts that begin alike carry their text with them: the engine's prefix cache finds what it has of it."""
    return Done((PrefixHandle(str(job.call.attributes.get("prefix", "")), job.attribute("prefix_tokens", 0)),))


async def prefill(job: Job) -> Done:
    from weft.runtime.reply_text import ReplyText

    if job.call.step in job.services.remotes:
        return await _remote_prefill(job, job.services.remotes[job.call.step])
    chat, engine = job.services.need(job.services.chat, job.call.step), job.engine
    messages, attributes = _messages(job), job.call.attributes
    tenant = check_tenant(str(attributes.get(TENANT, "")))
    said, reply = said_before(attributes), ReplyText(chat, attributes)
    for token in said:
        reply.push(token)

    def read() -> "Prefilled":
        terms = terms_of(attributes, chat, engine.vocab)
        return engine.prefill(prompt, terms, tenant, begun)

    begun = _offering(job)
    prompt = await in_thread(lambda: chat.encode(messages, tools_of(attributes)))
    prefilled = await in_thread(read, lambda late: engine.release(late.sequence))
    first, tokens = prefilled.first, len(prompt) + len(said)
    if first.token not in chat.stop_tokens and not reply.stopped and said == said_of(attributes):
        await job.emit_token(first.token, reply.push(first.token), reply.logprobs(first))
    late_s = engine.late_s(prefilled.sequence)
    handle = KvHandle(job.address, prefilled.sequence, first.token, tokens)
    cached, passes = prefilled.cached_tokens, _passes(job)
    metrics = StepMetrics(tokens, 1, 0, engine.emulated, late_s, cached_tokens=cached, passes=passes)
    return Done((handle,), metrics, blocks=_blocks(job, prompt))


def _passes(job: Job) -> PhaseTimes | None:
    return None if job.services.meter is None else job.services.meter.news()


def _blocks(job: Job, prompt: list[int]) -> tuple[int, ...]:
    held = job.services.held if job.call.blocks else None
    return () if held is None else block_hashes(prompt, held.block_size, str(job.call.attributes.get(TENANT, "")))


def _offering(job: Job) -> "Begun | None":
    """Tells who will take the cache that it may begin. If the prefill fails, so does what was begun."""
    to, loop = str(job.call.attributes.get(KV_TO, "")), asyncio.get_running_loop()
    if to in ("", job.address):
        return None

    def begun(sequence: int) -> None:
        asyncio.run_coroutine_threadsafe(job.peers.offer_kv(to, job.address, sequence), loop)

    return begun


async def transfer_kv(job: Job) -> Done:
    """Pulls the cache from the node that has it; that node then forgets it."""
    if isinstance(job.inputs[0], PrefixHandle):
        return Done((job.inputs[0],))
    handle, engine = job.input(KvHandle), job.engine
    if handle.address == job.address:
        return Done((handle,))
    pull = await job.peers.early.take(handle.address, handle.sequence)
    pull = pull or KvPull(handle.sequence, engine.model_hash, engine.open_import)
    try:
        if not pull.complete:
            await job.peers.fetch_kv(handle.address, pull)
        sequence = await in_thread(lambda: pull.finish(handle.first_token), engine.release)
    finally:
        pull.close()
    await job.peers.release(handle.address, handle.sequence)
    moved = KvHandle(job.address, sequence, handle.first_token, handle.tokens)
    return Done((moved,), StepMetrics(bytes_moved=pull.moved_bytes))


async def decode(job: Job) -> Done:
    from weft.runtime.reply_text import ReplyText

    if job.call.step in job.services.remotes:
        return await _remote_decode(job, job.services.remotes[job.call.step])
    handle, engine, attributes = job.input(KvHandle), job.engine, job.call.attributes
    chat = job.services.need(job.services.chat, job.call.step)
    if handle.address != job.address:
        raise StepFailedError(
            subject=f"step {job.call.step!r}",
            problem=f"its KV is on {handle.address}, not on this node",
            way_out="put a kv_transfer step before it on this pool",
        )
    reply, said, count, gaps = ReplyText(chat, attributes), said_before(attributes), 0, _Gaps()
    for token in (*said, handle.first_token):
        reply.push(token)  # it went out before
    further = max(0, max_tokens_of(attributes) - 1 - len(said))
    try:
        terms = await in_thread(lambda: terms_of(attributes, chat, engine.vocab))
        emitted = engine.decode(handle.sequence, further, terms)
        async with contextlib.aclosing(iterate_in_thread(emitted)) as tokens:
            while not reply.stopped and (each := await anext(tokens, None)) is not None:
                count += 1
                gaps.saw_one()
                await job.emit_token(each.token, reply.push(each.token), reply.logprobs(each))
        late_s = engine.late_s(handle.sequence)
        if rest := reply.finish():
            await job.emit_token(NO_TOKEN, rest)
        _keep(job, handle.sequence, CALL_S if reply.calls else 0.0)
    finally:
        engine.release(handle.sequence)
    cut = count == further and not reply.stopped and handle.first_token not in chat.stop_tokens
    return Done(
        (reply.text,),
        StepMetrics(0, count, 0, engine.emulated, late_s, s_per_token=gaps.mean_s, passes=_passes(job)),
        _ending(reply, cut=cut),
    )


class _Gaps:
    """Mean time between tokens."""

    def __init__(self) -> None:
        self._count, self._first_s, self._last_s = 0, 0.0, 0.0

    def saw_one(self) -> None:
        self._last_s = time.monotonic()
        if not self._count:
            self._first_s = self._last_s
        self._count += 1

    @property
    def mean_s(self) -> float:
        return (self._last_s - self._first_s) / (self._count - 1) if self._count > 1 else 0.0


def _ending(reply: "ReplyText", *, cut: bool) -> Ending:
    calls = tuple(ToolCall(each.name, msgspec.json.encode(each.arguments).decode()) for each in reply.calls)
    return Ending("tool_calls" if calls else "length" if cut else "stop", calls)


def _keep(job: Job, sequence: int, usual_s: float) -> None:
    """While a tool runs, the tiers keep the conversation that it belongs to."""
    keep_s = seconds_of(job.call.attributes, KEEP_S, usual_s)
    if keep_s > 0 and job.services.pin is not None:
        job.services.pin(sequence, keep_s)


async def _remote_prefill(job: Job, remote: "RemoteChat") -> Done:
    handle, first = await remote.begin(job.address, _messages(job), job.call.attributes)
    if first is not None:
        await _emit_piece(job, first)
    return Done((handle,), StepMetrics(0, 1))


async def _emit_piece(job: Job, piece: "Piece") -> None:
    """Its text with the first of its tokens."""
    text = piece.text
    for logprobs in piece.logprobs or ((),):
        await job.emit_token(UNKNOWN_TOKEN, text, logprobs)
        text = ""


async def _remote_decode(job: Job, remote: "RemoteChat") -> Done:
    """What the server counted is told with the decode: it comes at the end."""
    handle, gaps = job.input(KvHandle), _Gaps()
    try:
        async with contextlib.aclosing(remote.rest(handle.sequence)) as pieces:
            async for piece in pieces:
                gaps.saw_one()
                await _emit_piece(job, piece)
        text, end = remote.ended(handle.sequence)
    finally:
        await remote.release(handle.sequence)
    written, usd = max(0, end.usage.output_tokens - 1), remote.server.spec.usd(end.usage)
    metrics = StepMetrics(end.usage.input_tokens, written, usd=usd, s_per_token=gaps.mean_s)
    return Done((text,), metrics, end.ending)


async def transcribe(job: Job) -> Done:
    from weft.runtime.steps.audio import Audio

    if job.call.step in job.services.remotes:
        return Done((await job.services.remotes[job.call.step].server.transcribe(job.input(bytes)),))
    transcriber = job.services.need(job.services.transcriber, job.call.step)
    wav = job.input(bytes)
    text = await in_thread(lambda: transcriber.transcribe(Audio.from_wav_bytes(wav)))
    return Done((text,))


async def search(job: Job) -> Done:
    retriever = job.services.need(job.services.retriever, job.call.step)
    query, count = job.text(), job.attribute("k", PASSAGES)
    passages = await in_thread(lambda: retriever.search(query, count))
    return Done((found(job, passages),))


async def call_tool(job: Job) -> Done:
    """The part that only fetches hands on what is asked; the part that computes calls the tool with it."""
    if job.call.attributes.get(PART) == LOOKUP:
        return Done(job.inputs[:1])
    pool = job.services.need(job.services.tools.get(job.call.step), job.call.step)
    value = await pool.call(job.told())
    gives = job.call.attributes.get(GIVES, "text")
    if gives == "text":
        return Done((as_text(value) or "",))
    return Done((value if gives != "json" or isinstance(value, Json) else _as_json(value),))


def _as_json(value: Told) -> Json:
    text = as_text(value) or ""
    try:
        return Json(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return Json(text)


async def interrupt(job: Job) -> Done:
    raise StepFailedError(
        subject=f"step {job.call.step!r}",
        problem="waits for a person, and a node has none",
        way_out="let the driver of the run ask (serve.run_agent with `ask`)",
    )


async def synthesize(job: Job) -> Done:
    import numpy as np

    from weft.runtime.steps.audio import Audio
    from weft.runtime.steps.synthesize import EspeakSynthesizer

    if job.call.step in job.services.remotes:
        spoken = str(job.call.attributes.get("voice", "alloy"))
        wav = await job.services.remotes[job.call.step].server.speak(job.text(), spoken)
        await job.emit_audio(wav)
        return Done((wav,))
    voice = str(job.call.attributes.get("voice", "en-us"))
    pieces: list[Audio] = []
    sentences = EspeakSynthesizer(voice).synthesize(job.text())
    async with contextlib.aclosing(iterate_in_thread(sentences)) as spoken:
        async for piece in spoken:
            pieces.append(piece)
            await job.emit_audio(piece.to_wav_bytes())
    whole = Audio(np.concatenate([piece.samples for piece in pieces]), pieces[0].rate_hz)
    return Done((whole.to_wav_bytes(),))


async def apply(job: Job) -> Done:
    result = await _call_function(job)
    results = cast("tuple[object, ...]", result) if job.call.outputs > 1 else (result,)
    return Done(tuple(as_value(item, f"function of step {job.call.step!r}") for item in results))


async def choose(job: Job) -> Done:
    """The number of a label: of its name where the step has labels, else of True (1) or False (0)."""
    chosen, labels = await _call_function(job), str(job.call.attributes.get(LABELS, ""))
    if not labels:
        return Done((int(bool(chosen)),))
    names = labels.split(THEN)
    if isinstance(chosen, str) and chosen in names:
        return Done((names.index(chosen),))
    if isinstance(chosen, int):
        return Done((int(chosen),))
    raise StepFailedError(
        subject=f"step {job.call.step!r}", problem=f"chose {chosen!r}", way_out=f"return one of {', '.join(names)}"
    )


async def _call_function(job: Job) -> object:
    names = str(job.call.attributes.get("function")).split(THEN)
    if names[0] in GLUE and names[0] not in job.services.functions:
        glue, call = GLUE[names[0]], job.call
        return await in_thread(lambda: glue(call.step, call.attributes, job.inputs))
    first, *others = [job.services.function(name, job.call.step) for name in names]
    inputs = [plain(value) for value in job.inputs]
    value = await in_thread(lambda: first(*inputs))
    for function in others:
        value = await in_thread(lambda function=function, value=value: function(value))
    return value


def _messages(job: Job) -> tuple[Message, ...]:
    """A text alone is what the user says."""
    for value in job.inputs:
        if isinstance(value, tuple):
            return value
    return (Message("user", job.text()),)


HANDLERS: dict[StepKind, Handler] = {
    StepKind.INPUT: take_in,
    StepKind.TRANSCRIBE: transcribe,
    StepKind.PREFIX: prefix,
    StepKind.PREFILL: prefill,
    StepKind.KV_TRANSFER: transfer_kv,
    StepKind.DECODE: decode,
    StepKind.SEARCH: search,
    StepKind.EMBED: embed,
    StepKind.MEMORY_SEARCH: search_memory,
    StepKind.RECALL: recall,
    StepKind.REMEMBER: remember,
    StepKind.TOOL: call_tool,
    StepKind.INTERRUPT: interrupt,
    StepKind.SYNTHESIZE: synthesize,
    StepKind.APPLY: apply,
    StepKind.CHOOSE: choose,
}
