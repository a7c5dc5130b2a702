"""What a compiled model says of itself: its entry points, the shape of its KV, the files that hold its weights.

A decoder's entry takes, in this order (B sequences, S new tokens, T tokens before them, all integers 64 bit):

    tokens (B, S)   starts (B,)   counts (B,)   context (B, T)   keys, values (layers, slots, kv_heads, head_dim)

`starts` is how many tokens a sequence already holds, `counts` how many of its S are real, `context` the slots that hold
its tokens, in order (what stands after the first `starts` is not looked at). It gives logits (B, vocab) in float32 of
each last real token, and the new rows of keys and values (layers, B, S, kv_heads, head_dim). It writes nothing: whoever
holds the cache puts the rows where it wants them, so block size and sharing are the runtime's business alone.
The entries `embed` and `encode` take tokens (B, S) and counts (B,), and give vectors (B, width) of length 1 and hidden
states (B, S, width), both float32.
"""

from pathlib import Path

import msgspec

from weft.core.errors import CheckpointError

SCOPE = "model"  # parameters are named "model"::"their name in the checkpoint"
MIN_CONTEXT = 2  # an entry's T: exporters take sizes 0 and 1 for constants
FILE = "model.json"
PREFILL, DECODE, EMBED, ENCODE = "prefill", "decode", "embed", "encode"
IREE, INDUCTOR, OPENVINO = "iree", "aotinductor", "openvino"
MODULES = {IREE: "module.vmfb", INDUCTOR: "module.pt2", OPENVINO: "module.zip"}
"""What runs an artifact, and the file that it reads beside `model.json`."""
SCALE = ".scale"  # the tensor after the name of an int8 weight that its rows are multiplied by


class Entry(msgspec.Struct, frozen=True):
    name: str
    phase: str
    batch: int

    @property
    def method(self) -> str:
        """Of the module that is exported."""
        return self.phase if self.phase in (EMBED, ENCODE) else "step"


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """`parameters` are safetensors files, absolute or beside the file this was read from."""

    model_hash: str
    architecture: str
    dtype: str
    layers: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    entries: tuple[Entry, ...]
    parameters: tuple[str, ...]
    width: int = 0
    """Of hidden states and embeddings."""
    runtime: str = IREE
    driver: str = ""
    """The device that the code was made for, in the runtime's words."""
    weights: tuple[str, ...] = ()
    """The tensors that an entry takes before all else, in this order: as the checkpoint names them, in `dtype`; where
    the name with `.scale` follows, as int8 with a scale per row. IREE's code fetches its own by name: from the files,
    or, where these are named here, as the runtime has converted them."""

    @property
    def int8(self) -> bool:
        return any(name.endswith(SCALE) for name in self.weights)

    def batches(self, phase: str) -> tuple[int, ...]:
        return tuple(sorted(entry.batch for entry in self.entries if entry.phase == phase))


def write_artifact(directory: Path, artifact: Artifact) -> Path:
    path = directory / FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(artifact)))
    return path


def read_artifact(directory: Path) -> Artifact:
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Artifact)
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(
            subject=str(path), problem=f"does not describe a compiled model ({error})", way_out="compile it again"
        ) from error
