"""Names as people write them ("H100", "AMD Instinct MI300X", "meta-llama/Llama-3.1-8B-Instruct") become ids."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from weft.core.errors import CatalogError

Item = TypeVar("Item")
Row = TypeVar("Row", bound="NamedRow")

_FILLER = frozenset(
    {"nvidia", "amd", "intel", "google", "aws", "amazon", "apple", "instinct", "tesla", "geforce", "radeon"}
    | {"meta", "instruct", "hf", "it", "chat", "fp8", "nvfp4", "mxfp4", "bf16"}
)
_ASIDE = re.compile(r"\s*\|.*$|\s*\([^)]*\)")  # "| DGX B200 (8x …)", "(355B-A32B)"
_COUNT = re.compile(r"^\d+\s*x\s+")  # "8x Gaudi 3"
_OWNER = re.compile(r"^[\w.-]+/(?=[^/]+$)")  # meta-llama/


def normalise(name: str) -> str:
    """Case, spaces, dashes, a repository's owner, vendor, number format and fine-tuning words do not tell rows apart;
    nor do a count before the name and a system after it ("8x B200 | DGX B200")."""
    plain = _COUNT.sub("", _ASIDE.sub("", name.lower()) or name.lower())
    words = re.findall(r"[a-z0-9.]+", _OWNER.sub("", plain))
    return "".join(word for word in words if word not in _FILLER) or "".join(words)


def index(kind: str, spellings: Iterable[tuple[str, Iterable[str]]]) -> Mapping[str, str]:
    """Normalised spelling -> id. Two rows that answer to one spelling are a mistake in the catalogue."""
    ids: dict[str, str] = {}
    for row_id, names in spellings:
        for name in (row_id, *names):
            if ids.setdefault(normalise(name), row_id) != row_id:
                problem = f"{name!r} also names {ids[normalise(name)]!r}"
                raise CatalogError(subject=f"{kind} {row_id!r}", problem=problem, way_out="rename one of the two")
    return MappingProxyType(ids)


class NamedRow(Protocol):
    """A row of a TOML table that people may call by several names."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Table(Generic[Item]):
    """What one kind of row became, by id, and the names it answers to."""

    kind: str
    items: Mapping[str, Item]
    ids: Mapping[str, str]

    def __getitem__(self, name: str) -> Item:
        return self.items[resolve(self.kind, name, self.ids)]

    def knows(self, name: str) -> bool:
        return normalise(name) in self.ids


def table(kind: str, rows: Sequence[Row], build: Callable[[Row], Item]) -> Table[Item]:
    ids = index(kind, ((row.id, (row.name, *row.aliases)) for row in rows))
    return Table(kind, MappingProxyType({row.id: build(row) for row in rows}), ids)


def resolve(kind: str, name: str, ids: Mapping[str, str], of: str = "the catalogue") -> str:
    found = ids.get(normalise(name))
    if found is None:
        problem = f"none of the {len(set(ids.values()))} {kind}s of {of}"
        raise CatalogError(subject=f"{kind} {name!r}", problem=problem, way_out=did_you_mean(name, ids))
    return found


def did_you_mean(name: str, ids: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(normalise(name), ids, n=len(ids), cutoff=0.0)
    nearest = list(dict.fromkeys(ids[spelling] for spelling in near))[:3]
    return f"the nearest are {', '.join(nearest)}"
