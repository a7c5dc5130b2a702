"""Reads a TOML file into a typed row set, or refuses with one error: file, line, key, value, limit, way out."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import msgspec
from msgspec import inspect

from weft.catalog.locate import TomlPath, contains, first_unreadable_line, line_of, value_at
from weft.core.errors import InputError

T = TypeVar("T")

_WHERE = re.compile(r" - at `(?P<where>[^`]*)`$")
_PART = re.compile(r"\.(?P<key>[\w-]+)|\[(?P<index>\d+)\]")
_FIELD = re.compile(r"^Object (?P<what>contains unknown|missing required) field `(?P<key>.*)`$")
_SHOWN = 60
_PLAIN = {"float": "a number", "int": "a whole number", "str": "text", "array": "a list", "object": "a table"}
_TYPE_NAME = re.compile(rf"\b({'|'.join(_PLAIN)})\b")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file that is valid TOML, with what it takes to point at any of its values."""

    path: Path
    text: str
    data: Mapping[str, Any]
    error: type[InputError]

    def refuse(self, where: TomlPath, problem: str, way_out: str) -> NoReturn:
        """Raises the file's error, pointing at the line of the value at `where`."""
        subject = f"{self.path}:{line_of(self.text, where)}"
        raise self.error(subject=subject, problem=problem, way_out=way_out)

    def convert(self, row_type: type[T]) -> T:
        """The file's content as `row_type` (a msgspec Struct that forbids unknown fields)."""
        try:
            return msgspec.convert(self.data, row_type)
        except msgspec.ValidationError as invalid:
            _refuse_invalid(self, row_type, str(invalid))


def read_toml(path: Path, error: type[InputError]) -> TomlFile:
    text = _read_text(path, error)
    try:
        return TomlFile(path, text, tomllib.loads(text), error)
    except (ValueError, RecursionError) as broken:
        way_out = "write it as TOML (https://toml.io): strings need quotes, tables are [name] or [[name]]"
        subject = f"{path}:{_broken_line(text, str(broken))}"
        problem = f"not valid TOML: {re.sub(r' [(]at .*[)]$', '', str(broken))}"
        raise error(subject=subject, problem=problem, way_out=way_out) from None


def shown(value: object) -> str:
    """A value as it stands in an error: TOML spelling, cut to a readable length."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def named(where: TomlPath) -> str:
    """("group", 1, "count") -> "`count` of [[group]] number 2"."""
    *tables, key = where
    if isinstance(key, int) and len(tables) > 1:
        return f"entry {key + 1} of {named(tuple(tables))}"
    text = ".".join(str(part) for part in tables)
    owner, array = re.subn(r"^(\w+)\.(\d+)", lambda row: f"[[{row[1]}]] number {int(row[2]) + 1}", text)
    label = f"entry {key + 1}" if isinstance(key, int) else f"`{key}`"
    if not tables:
        return label
    return f"{label} of {owner}" if array else f"{label} of [{owner}]"


def _read_text(path: Path, error: type[InputError]) -> str:
    try:
        raw = path.read_bytes()
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise error(subject=str(path), problem=f"cannot be read: {reason}", way_out="check the path") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as invalid:
        line = raw[: invalid.start].count(b"\n") + 1
        problem = f"byte 0x{raw[invalid.start]:02x} is not UTF-8"
        raise error(subject=f"{path}:{line}", problem=problem, way_out="save the file as UTF-8") from None


def _broken_line(text: str, message: str) -> int:
    at = re.search(r"\(at line (\d+)", message)
    if at:
        return int(at.group(1))
    return text.rstrip("\n").count("\n") + 1 if "end of document" in message else first_unreadable_line(text)


def _refuse_invalid(file: TomlFile, row_type: type[object], message: str) -> NoReturn:
    """Turns msgspec's message into ours."""
    place = _WHERE.search(message)
    where = _path(place.group("where")) if place else ()
    reason = _WHERE.sub("", message)
    field = _FIELD.match(reason)
    if field is None:
        _refuse_value(file, where, reason)
    key, allowed = field.group("key"), _keys(inspect.type_info(row_type), where)
    if field.group("what") == "missing required":
        file.refuse(where, f"{named((*where, key))} is missing", f"add `{key} = …`; the keys are {', '.join(allowed)}")
    nearest = difflib.get_close_matches(key, allowed, 1, cutoff=0.5)
    hint = f"did you mean `{nearest[0]}`? " if nearest else ""
    problem = f"{named((*where, key))} is not a known key"
    file.refuse((*where, key), problem, f"{hint}the keys are {', '.join(allowed)}")


def _refuse_value(file: TomlFile, where: TomlPath, reason: str) -> NoReturn:
    limit = _TYPE_NAME.sub(lambda name: _PLAIN[name[0]], reason.replace("`", "").replace(" | null", ""))
    limit = limit[:1].lower() + limit[1:]
    value = shown(value_at(file.data, where)) if contains(file.data, where) else "out of range"
    file.refuse(
        where, f"{named(where) if where else 'the file'} is {value}, {limit}", "write a value within that limit"
    )


def _path(where: str) -> TomlPath:
    parts = _PART.finditer(where)
    return tuple(part["key"] if part["key"] is not None else int(part["index"]) for part in parts)


def _keys(shape: inspect.Type, where: TomlPath) -> list[str]:
    """The keys that the table at `where` may have."""
    if isinstance(shape, inspect.UnionType):
        shape = next(kind for kind in shape.types if not isinstance(kind, inspect.NoneType))
    if not where:
        return [field.encode_name for field in cast(inspect.StructType, shape).fields]
    if isinstance(shape, inspect.ListType):
        return _keys(shape.item_type, where[1:])
    fields = cast(inspect.StructType, shape).fields
    return _keys(next(field.type for field in fields if field.encode_name == where[0]), where[1:])
