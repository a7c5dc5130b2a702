"""A server that is not ours, and runs a model: where it is, what it charges, how fast it was; rows of a TOML file."""

from pathlib import Path

import msgspec

from weft.core.errors import InputError
from weft.core.units import MEGA


class RemoteSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` ends in /v1; `served_as` is what the server calls the model; `key_env` names the variable with its key.

    `ttft_s` and `tpot_s` were `measured` (when and by what); a reply may take `patience_s` to begin and as long between
    two pieces. Tries go on for `retry_s` at most."""

    model: str
    url: str
    served_as: str = ""
    key_env: str | None = None
    usd_per_million_input_tokens: float = 0.0
    usd_per_million_output_tokens: float = 0.0
    ttft_s: float | None = None
    tpot_s: float | None = None
    measured: str = ""
    tries: int = 4
    retry_s: float = 20.0
    patience_s: float = 60.0

    @property
    def name(self) -> str:
        return self.served_as or self.model

    def usd(self, usage: "Usage") -> float:
        read = usage.input_tokens * self.usd_per_million_input_tokens
        return (read + usage.output_tokens * self.usd_per_million_output_tokens) / MEGA


class Usage(
    msgspec.Struct, frozen=True, rename={"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
):
    """As the server counts."""

    input_tokens: int = 0
    output_tokens: int = 0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    remote: tuple[RemoteSpec, ...]


def read_remotes(path: Path) -> tuple[RemoteSpec, ...]:
    """`[[remote]]` rows, one a model."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_File).remote
    except OSError as error:
        raise InputError(
            subject=str(path), problem=f"cannot be read ({error.strerror})", way_out="give a TOML file"
        ) from error
    except (msgspec.MsgspecError, ValueError) as error:
        way_out = "write [[remote]] with model and url"
        raise InputError(subject=str(path), problem=f"has no servers ({error})", way_out=way_out) from error
    models = [each.model for each in found]
    for each in found:
        if not each.url.startswith(("http://", "https://")) or models.count(each.model) > 1:
            problem = f"names {each.model!r} at {each.url!r}"
            raise InputError(subject=str(path), problem=problem, way_out="give each model once, and an http address")
    return found
