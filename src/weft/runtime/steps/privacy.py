"""Personal data taken out of text, before it goes on: `[email]` stands where an address stood.

What looks like a number of some kind is one only if it holds what such numbers hold (check digits, areas): by
python-stdnum, and for telephones by Google's rules of all countries (phonenumbers). Names of persons and addresses
of houses are not found: that takes a model.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from weft.core.errors import MissingProgramError, StepFailedError
from weft.core.message import Called, Message
from weft.core.program import PERSONAL, REMOVES, THEN
from weft.runtime.values import Docs, Items, Json, Passage, Value

try:
    import phonenumbers
    from stdnum import iban, luhn
    from stdnum.us import ssn
except ImportError as error:
    raise MissingProgramError(
        subject="package 'phonenumbers' or 'stdnum'",
        problem="is not installed",
        way_out="run: pip install weft[privacy]",
    ) from error

Span = tuple[int, int]
REGION = "US"  # of telephone numbers that name no country

_EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
_SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:])")


def _is_card(text: str) -> bool:
    return bool(luhn.is_valid(re.sub("[ -]", "", text)))


def _is_ip(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


def _matching(pattern: re.Pattern[str], true: Callable[[str], bool]) -> Callable[[str], Iterator[Span]]:
    return lambda text: (found.span() for found in pattern.finditer(text) if true(found[0]))


def _ibans(text: str) -> Iterator[Span]:
    """One may have words in capitals behind it: the longest beginning that is one."""
    for found in _IBAN.finditer(text):
        start, end = found.span()
        ends = (at for at in range(end, start + 14, -1) if not text[at - 1].isspace() and iban.is_valid(text[start:at]))
        if (end := next(ends, None)) is not None:
            yield start, end


def _phones(text: str) -> Iterator[Span]:
    return ((found.start, found.end) for found in phonenumbers.PhoneNumberMatcher(text, REGION))


FINDERS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "email": _matching(_EMAIL, lambda _: True),
    "iban": _ibans,
    "credit_card": _matching(_CARD, _is_card),
    "ssn": _matching(_SSN, ssn.is_valid),
    "ip": _matching(_IP, _is_ip),
    "phone": _phones,
}
assert set(FINDERS) == set(PERSONAL)


def redacted(text: str, kinds: Sequence[str]) -> str:
    """Where two kinds overlap the one that stands first in FINDERS counts."""
    taken: list[tuple[int, int, str]] = []
    for kind, find in FINDERS.items():
        if kind in kinds:
            spans = [(start, end) for start, end in find(text) if all(end <= a or b <= start for a, b, _ in taken)]
            taken += [(start, end, kind) for start, end in spans]
    for start, end, kind in sorted(taken, reverse=True):
        text = f"{text[:start]}[{kind}]{text[end:]}"
    return text


def redact(step: str, attributes: Mapping[str, str | int | float], inputs: Sequence[Value]) -> object:
    """The same value without personal data of the kinds that the step removes."""
    kinds = str(attributes.get(REMOVES, THEN.join(PERSONAL))).split(THEN)
    if unknown := set(kinds) - set(PERSONAL):
        raise StepFailedError(
            subject=f"step {step!r}",
            problem=f"removes {sorted(unknown)}",
            way_out=f"name some of {', '.join(PERSONAL)}",
        )
    return _clean(inputs[0], lambda text: redacted(text, kinds))


def _clean(value: object, clean: Callable[[str], str]) -> object:
    match value:
        case str():
            return clean(value)
        case Message(role, content, calls, call_id):
            cleaned = tuple(Called(call.id, call.name, clean(call.arguments)) for call in calls)
            return Message(role, clean(content), cleaned, call_id)
        case Passage(id, title, text, spoken):
            return Passage(id, clean(title), clean(text), clean(spoken))
        case Docs(passages):
            return Docs(tuple(_clean(each, clean) for each in passages))  # pyright: ignore[reportArgumentType]
        case Items(values):
            return Items(tuple(_clean(each, clean) for each in values))  # pyright: ignore[reportArgumentType]
        case Json(inner):
            return Json(_clean(inner, clean))
        case tuple() | list():
            return type(value)(_clean(each, clean) for each in value)  # pyright: ignore
        case dict():
            return {_clean(key, clean): _clean(each, clean) for key, each in value.items()}  # pyright: ignore
        case _:
            return value
