"""Node names that a program puts together from strings: `name.lower()`, `"agent_" + kind`, `"{}_node".format(x)`.

What is not known becomes `*`, and such a pattern can only stand for nodes that match it.
"""

import ast
import fnmatch
import itertools
import re
from collections.abc import Iterable

ANY = "*"
_METHODS = {"lower", "upper", "strip", "lstrip", "rstrip", "title", "capitalize", "replace", "split", "casefold"}


def applied(method: str, words: Iterable[str], arguments: list[ast.expr]) -> frozenset[str] | None:
    """What a method of str gives for each word; None for other methods, or arguments that are not constants."""
    values = [each.value for each in arguments if isinstance(each, ast.Constant)]
    if method not in _METHODS or len(values) < len(arguments):
        return None
    found: set[str] = set()
    for word in words:
        try:
            result = getattr(word, method)(*values)
        except (TypeError, ValueError):
            return None
        found |= {result} if isinstance(result, str) else set(result)
    return frozenset(found)


def joined(lefts: Iterable[str], rights: Iterable[str]) -> frozenset[str]:
    return frozenset(left + right for left, right in itertools.product(lefts, rights))


def formatted(template: str) -> str:
    """`"{}_node"` and `"%s_node"` as patterns."""
    return re.sub(r"\{[^{}]*\}|%[sdr]", ANY, template)


def matching(patterns: Iterable[str], known: Iterable[str]) -> frozenset[str] | None:
    """Plain words as they are, patterns as the nodes they can name; None where one could name anything."""
    found: set[str] = set()
    for pattern in patterns:
        if ANY not in pattern:
            found.add(pattern)
            continue
        nodes = fnmatch.filter(sorted(known), pattern)
        if not pattern.strip(ANY) or not nodes:
            return None
        found |= set(nodes)
    return frozenset(found)
