"""Paths and methods to endpoints. A path may hold `{name}` parts, each of which stands for one part of a request's."""

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

from weft.serve.api.errors import ApiError

E = TypeVar("E")
Methods = Mapping[str, E]
NOTHING_NAMED: Mapping[str, str] = {}


def canonical(raw: str) -> str:
    """A path as it was sent, decoded but for what would make other parts of it: `/` and `%`."""
    if "%" not in raw:
        return raw
    parts = [unquote(part, errors="replace").replace("%", "%25").replace("/", "%2F") for part in raw.split("/")]
    return "/".join(parts)


class Routes(Generic[E]):
    """Paths without names are found first, by one look-up."""

    def __init__(self, endpoints: Mapping[str, Mapping[str, E]]) -> None:
        self.paths = tuple(endpoints)
        self._exact = {path: methods for path, methods in endpoints.items() if "{" not in path}
        self._named = [(path.split("/"), methods) for path, methods in endpoints.items() if "{" in path]

    def find(self, path: str, method: str) -> tuple[E, Mapping[str, str]]:
        """The endpoint of a canonical path, and what the names of its pattern stand for; a HEAD is a GET whose body
        stays away. Raises ApiError 404 and 405."""
        methods, named = self._exact.get(path), NOTHING_NAMED
        if methods is None:
            methods, named = self._find_named(path)
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            message = f"{path} takes {', '.join(methods)}, not {method}"
            raise ApiError(405, message, code="method_not_allowed", allow=tuple(methods))
        return endpoint, named

    def _find_named(self, path: str) -> tuple[Mapping[str, E], Mapping[str, str]]:
        parts = path.split("/")
        for pattern, methods in self._named:
            if len(pattern) == len(parts) and all(
                part if name.startswith("{") else name == part for name, part in zip(pattern, parts, strict=True)
            ):
                named = {
                    name[1:-1]: unquote(part) for name, part in zip(pattern, parts, strict=True) if name.startswith("{")
                }
                return methods, named
        raise ApiError(404, f"there is no {path} here; /openapi.json lists what is", code="unknown_url")
