"""Everything that nodes and their drivers say to each other. A frame is one of these and, for some, raw payload bytes.

`id` joins an answer to its question and is the asker's choice. Whoever asks Call gets Tokens and Chunk frames and then
one Result or Failure; KvFetch gets KvHeader, then a KvLayer for each chunk from its place on; KvWatch gets KvNews
without end; Ping gets Pong; Hello gets Ready.
"""

import msgspec

from weft.core.errors import WireError
from weft.core.program import StepKind
from weft.runtime.values import WireValue

PROTOCOL_VERSION = 4


class NodeInfo(msgspec.Struct, frozen=True):
    name: str
    device: str
    kinds: tuple[StepKind, ...]
    emulated: bool
    model_hash: str | None
    pid: int
    load_s: float
    block_size: int = 0  # of its prefixes, in tokens; 0: it shares none


class PassTimes(msgspec.Struct, frozen=True, array_like=True):
    """Passes of an engine of one kind: how many, the seconds that they took, and those that the planner's cost model
    has for them."""

    count: int = 0
    took_s: float = 0.0
    model_s: float = 0.0

    def plus(self, other: "PassTimes") -> "PassTimes":
        return PassTimes(self.count + other.count, self.took_s + other.took_s, self.model_s + other.model_s)

    def since(self, before: "PassTimes") -> "PassTimes":
        return PassTimes(self.count - before.count, self.took_s - before.took_s, self.model_s - before.model_s)


class PhaseTimes(msgspec.Struct, frozen=True, array_like=True):
    """`prefill`: passes that carried prompts; `decode`: those that did not."""

    prefill: PassTimes = PassTimes()
    decode: PassTimes = PassTimes()


class StepMetrics(msgspec.Struct, frozen=True):
    """`late_s` is how far an emulated step fell behind its pace; `usd` what a server that is not ours charges.
    `s_per_token` is the mean time between the tokens of a decode, without what it waited for a place; 0: unknown.
    `passes` are the node's since a result last told of them, of all that it was asked; None: it cannot tell."""

    input_tokens: int = 0
    output_tokens: int = 0
    bytes_moved: int = 0
    emulated: bool = False
    late_s: float = 0.0
    usd: float = 0.0
    cached_tokens: int = 0
    s_per_token: float = 0.0
    passes: PhaseTimes | None = None


NO_TOKEN, UNKNOWN_TOKEN = -1, -2


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    id: int
    version: int = PROTOCOL_VERSION


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    id: int
    info: NodeInfo


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    id: int


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    id: int


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Run a step. The payload is the audio among `inputs`; `outputs` is how many values are due; `trace` is the run's
    W3C traceparent; nobody waits for it longer than `within_s` (None: for ever). Without `stream` no tokens are told,
    the result alone. `then`: a call that the node goes on with by itself, on what this one gave; it is answered under
    its own id, and not at all if this one fails. `blocks`: the answer to a prefill names the blocks of its prompt."""

    id: int
    step: str
    kind: StepKind
    attributes: dict[str, str | int | float]
    inputs: tuple[WireValue, ...]
    outputs: int
    trace: str = ""
    within_s: float | None = None
    stream: bool = True
    then: "Call | None" = None
    blocks: bool = False


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    id: int


class TokenLogprob(msgspec.Struct, frozen=True):
    """`text` is the token's alone: of a part of a character it is U+FFFD."""

    token: int
    text: str
    logprob: float


class Token(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One token of a reply; `text` is empty while a character is not whole, or may be a stop string or a tool call.
    NO_TOKEN: text that was held back, once the reply is over; UNKNOWN_TOKEN: a piece by a server that tells none.
    `logprobs`, if asked: its own, then the best ones."""

    id: int
    token: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class Tokens(msgspec.Struct, frozen=True, tag="tokens"):
    """What came in one turn of the node's loop, of all replies that this peer waits for; each has its call's id."""

    tokens: tuple[Token, ...]
    id: int = -1


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """A piece of speech; the payload is a wav file of its own."""

    id: int


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is the text of a JSON object."""

    name: str
    arguments: str


class Ending(msgspec.Struct, frozen=True):
    """How a reply ended: "stop", "length" or "tool_calls"; its text is then without them."""

    finish: str
    tool_calls: tuple[ToolCall, ...] = ()


class Result(msgspec.Struct, frozen=True, tag="result"):
    """`ending` is a decode's; `blocks` are the prefixes of a prompt, as KvNews names them."""

    id: int
    outputs: tuple[WireValue, ...]
    metrics: StepMetrics
    ending: Ending | None = None
    blocks: tuple[int, ...] = ()


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """`error` is a class of weft.core.errors: OverloadError says that the step was refused before it began."""

    id: int
    subject: str
    problem: str
    way_out: str
    error: str = "StepFailedError"


class KvFetch(msgspec.Struct, frozen=True, tag="kv_fetch"):
    """`tokens`, `layer`, `end`: where a transfer that was cut goes on (kv.pull.Place)."""

    id: int
    sequence: int
    tokens: int = 0
    layer: int = 0
    end: int = 0


class KvOffer(msgspec.Struct, frozen=True, tag="kv_offer"):
    """To a node that will be asked to take a cache: part of it can be fetched from `address` now, and the rest as it is
    computed; or, if it was `withdrawn`, nothing more. There is no answer."""

    id: int
    address: str
    sequence: int
    withdrawn: bool = False


class KvHeader(msgspec.Struct, frozen=True, tag="kv_header"):
    """The payload is the prelude of the KV wire format. `prompt`: the tokens that the cache is of, if they are known;
    `salt`: whose prefixes it may be shared with."""

    id: int
    prompt: tuple[int, ...] = ()
    salt: str = ""


class KvLayer(msgspec.Struct, frozen=True, tag="kv_layer"):
    """The payload is one chunk of the KV wire format."""

    id: int


class KvWatch(msgspec.Struct, frozen=True, tag="kv_watch"):
    """Tell me which prefixes you hold, until I cancel."""

    id: int


class KvNews(msgspec.Struct, frozen=True, tag="kv_news"):
    """The payload is a policy.prefix_feed announcement: a snapshot, then updates, one a second at least."""

    id: int


class PrefixAdopt(msgspec.Struct, frozen=True, tag="prefix_adopt"):
    """Take over what prefixes the node at `address` has that are worth it on a line of so many bytes a second, within
    so long. `younger_s`: only those that were used since then; None: all."""

    id: int
    address: str
    bytes_per_s: float
    within_s: float
    younger_s: float | None = None


class PrefixFetch(msgspec.Struct, frozen=True, tag="prefix_fetch"):
    """The same, to that node itself."""

    id: int
    bytes_per_s: float
    within_s: float
    younger_s: float | None = None


class PrefixBlocks(msgspec.Struct, frozen=True, tag="prefix_blocks"):
    """The payload is the last blocks of the prefix `hashes`, one for each of `checks`, as the engine keeps them."""

    id: int
    model_hash: str
    hashes: tuple[int, ...] = ()
    checks: tuple[int, ...] = ()


class Adopted(msgspec.Struct, frozen=True, tag="adopted"):
    """The end of PrefixBlocks, and the answer to PrefixAdopt: `cached` blocks were there, `worth` moving, `taken`."""

    id: int
    cached: int
    worth: int
    taken: int = 0
    taken_bytes: int = 0


class Release(msgspec.Struct, frozen=True, tag="release"):
    id: int
    sequence: int


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    id: int


Request = Hello | Ping | Call | Cancel | KvFetch | KvOffer | KvWatch | PrefixAdopt | PrefixFetch | Release | Shutdown
Reply = Ready | Pong | Tokens | Chunk | Result | Failure | KvHeader | KvLayer | KvNews | PrefixBlocks | Adopted
Wire = Request | Reply

_decoder = msgspec.msgpack.Decoder(Wire)
_encoder = msgspec.msgpack.Encoder()


def encode(message: Wire) -> bytes:
    return _encoder.encode(message)


def decode(data: memoryview) -> Wire:
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(
            subject="frame header", problem=f"is malformed ({error})", way_out="both sides must run the same weft"
        ) from error
