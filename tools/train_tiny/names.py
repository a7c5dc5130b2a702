"""How names are written and how they are said, for real and for made-up entities.

`spoken("H200 SXM") == "h two hundred s x m"`: the transcriber writes what it hears, so questions and search queries
are in spoken form while passages and answers are in written form. Made-up names are put together from the same sounds
as real ones, so that neither model can learn the catalogue by heart.
"""

import random
import re
from functools import cache


def words(text: str) -> tuple[str, ...]:
    """A list of words, written as one string."""
    return tuple(text.split())


_ONES = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = words("_ _ twenty thirty forty fifty sixty seventy eighty ninety")
# Written capitals that are said as words, and words that are said otherwise than they are written.
_SAID = {
    "pro": "pro", "pcie": "p c i e", "phi": "phi", "epyc": "epyc", "aws": "a w s", "amd": "a m d", "nvidia": "nvidia",
    "openai": "open a i", "ai": "a i", "deepseek": "deepseek",
}  # fmt: skip
_WORDS = {"PRO", "NVIDIA"}


def _under_hundred(number: int) -> str:
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f" {_ONES[ones]}" if ones else "")


def spoken_number(digits: str) -> str:
    """As names are read out: 200 two hundred, 355 three fifty five, 405 four oh five, 6980 sixty nine eighty."""
    if "." in digits:
        whole, fraction = digits.split(".")
        return f"{spoken_number(whole)} point {' '.join(_ONES[int(d)] for d in fraction)}"
    number = int(digits)
    if number < 100:
        return _under_hundred(number)
    if number % 1000 == 0 and number < 100_000:
        return f"{_under_hundred(number // 1000)} thousand"
    head, tail = divmod(number, 100)
    if tail == 0:
        return f"{_under_hundred(head)} hundred"
    return f"{_under_hundred(head)} {'oh ' if tail < 10 else ''}{_under_hundred(tail)}"


def _spoken_letters(text: str) -> str:
    lower = text.lower()
    if lower in _SAID:
        return _SAID[lower]
    is_word = len(text) > 1 and (text[1:].islower() or text in _WORDS)
    return lower if is_word else " ".join(lower)


@cache
def spoken(name: str) -> str:
    """The words in which a name is said: 'Llama 3.1 8B' -> 'llama three point one eight b'."""
    if re.fullmatch(r"\d+x\d+B", name):
        count, size = name[:-1].split("x")
        return f"{spoken_number(count)} by {spoken_number(size)} b"
    if " " in name:
        return " ".join(spoken(part) for part in name.split())
    pieces = re.findall(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*|\d+(?:\.\d+)?", name)
    if name.lower() in _SAID:
        return _SAID[name.lower()]
    return " ".join(spoken_number(p) if p[0].isdigit() else _spoken_letters(p) for p in pieces)


def pronounced(text: str) -> str:
    """What espeak-ng is given: it would read the letter a as the article, and spell out qwen."""
    return re.sub(r"\ba\b", "[[eI]]", text).replace("qwen", "kwen")


_ONSETS = words("b c d f g h k l m n p r s t v z br dr gr kr pl st tr th sh qu")
_VOWELS = words("a e i o u a e i o ai ee or er ar")
_CODAS = ["", "", "", "n", "l", "r", "s", "m", "x", "ck", "nd", "st"]
_SUFFIXES = words("SXM PCIe NVL X S E P Ultra Max Pro Ada Mini Turbo")
_FAMILY_WORDS = words("Coder Scout Maverick mini Large Nova Mega Chat")


def made_up_word(rng: random.Random, syllables: int | None = None) -> str:
    """A pronounceable capitalised word."""
    count = syllables or rng.choice((1, 2, 2, 2, 3))
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(count)]
    return ("".join(parts) + rng.choice(_CODAS)).capitalize()


def _made_up_number(rng: random.Random) -> str:
    return rng.choice(
        (
            str(rng.randint(1, 9)),
            str(rng.randint(1, 9)),
            str(rng.randint(10, 99)),
            str(rng.randint(1, 9) * 10),
            str(rng.randint(1, 9) * 100),
            str(rng.randint(1, 9) * 100),
            str(rng.randint(10, 99) * 10),
            str(rng.randint(111, 999)),
            str(rng.randint(1, 9) * 1000),
            str(rng.randint(1111, 9999)),
        )
    )


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def varied(name: str, rng: random.Random) -> str:
    """A name like a real one: other digits, other letters before digits, perhaps one more word ('DeepSeek K7')."""
    parts = name.split()
    if rng.random() < 0.7:
        parts = [re.sub(r"\d", lambda _: rng.choice("123456789"), part) for part in parts]
    parts = [re.sub(r"^[A-Z](?=\d)", lambda _: rng.choice(_LETTERS), part) for part in parts]
    if rng.random() < 0.3:
        parts.insert(rng.randint(1, len(parts)), rng.choice((*_SUFFIXES, *_FAMILY_WORDS)))
    return " ".join(parts)


def made_up_device(rng: random.Random) -> str:
    """'KX300 SXM', 'Zorani 3', 'RTQ 4070', 'Trani v5e'."""
    letters = "".join(rng.choices(_LETTERS, k=rng.choice((1, 1, 2, 2, 3))))
    suffix = rng.choice((*_SUFFIXES, *_LETTERS[:26]))
    tail = f" {suffix}" if rng.random() < 0.3 else suffix if len(suffix) == 1 and rng.random() < 0.3 else ""
    form = rng.random()
    if form < 0.5:
        return f"{letters}{_made_up_number(rng)}{tail}"
    if form < 0.6:
        return f"{letters} v{rng.randint(2, 9)}{rng.choice(('', 'e', 'p'))}"
    if form < 0.7:
        return f"{letters} {_made_up_number(rng)}{tail}"
    if form < 0.85:
        return f"{made_up_word(rng)} {_made_up_number(rng)}{tail}"
    return f"{made_up_word(rng)} {letters[0]}{_made_up_number(rng)}{tail}"


def made_up_model(rng: random.Random) -> str:
    """'Talven 2 34B', 'Mirox3 0.5B', 'Quorin 8x7B', 'Senda K2'."""
    word = made_up_word(rng) if rng.random() < 0.8 else "".join(rng.choices(_LETTERS, k=3))
    version = rng.choice(
        ("", f" {rng.randint(1, 9)}", f"{rng.randint(2, 9)}", f" {rng.randint(1, 9)}.{rng.randint(1, 9)}")
    )
    size = rng.choice(
        (
            f"{rng.randint(1, 99)}B",
            f"{rng.randint(1, 9)}B",
            f"{rng.randint(100, 499)}B",
            f"{rng.randint(0, 9)}.{rng.randint(1, 9)}B",
            f"{rng.choice((4, 8, 16))}x{rng.randint(2, 40)}B",
            f"{rng.choice(_LETTERS)}{rng.randint(1, 9)}",
            rng.choice(_FAMILY_WORDS),
            f"{rng.choice(_FAMILY_WORDS)} {rng.randint(1, 99)}B",
        )
    )
    return f"{word}{version} {size}"
