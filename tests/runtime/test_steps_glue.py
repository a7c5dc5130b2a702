"""What the compiler's own data steps do with lists."""

import pytest

from weft.core.errors import StepFailedError
from weft.core.message import Message
from weft.runtime.steps.glue import gather, has_next, item, parse_json
from weft.runtime.values import Docs, Items, Json, Passage, Value, as_text, as_told, plain

LISTS: tuple[tuple[Value, int, Value], ...] = (
    (Items(("a", "b")), 1, "b"),
    ("one\n\n  two \n", 1, "two"),
    ('["x", {"y": 1}]', 1, Json({"y": 1})),
    ("[no list\nbut lines", 0, "[no list"),
    (Json([1, 2]), 1, 2),
    ((Message("user", "a"), Message("user", "b")), 1, (Message("user", "b"),)),
    (Docs((Passage("i", "t", "x"), Passage("j", "u", "y"))), 1, Docs((Passage("j", "u", "y"),))),
)


@pytest.mark.parametrize(("items", "index", "wanted"), LISTS)
def test_items_are_taken_by_number_and_in_turn(items: Value, index: int, wanted: Value) -> None:
    assert item("s", {"index": index}, [items]) == wanted
    gathered = gather("g", {}, [])
    taken: list[Value] = []
    while has_next("n", {}, [items, gathered]):
        each = item("s", {}, [items, gathered])
        taken.append(each)
        gathered = gather("g", {}, [gathered, each])
    assert taken[index] == wanted
    with pytest.raises(StepFailedError, match=f"wants item {len(taken) + 1} of a list of {len(taken)}"):
        item("s", {}, [items, gathered])
    with pytest.raises(StepFailedError, match="is no list"):
        item("s", {"index": 0}, [3])


def test_a_list_longer_than_its_map_was_planned_for_is_refused_not_cut() -> None:
    assert item("s", {"index": 0, "width": 2}, ["a\nb"]) == "a"
    for inputs in (["a\nb\nc"], ["a\nb\nc", Items(())]):
        with pytest.raises(StepFailedError, match=r"has 3 items and a map that was planned for 2; plan .* width=3"):
            item("s", {"index": 0, "width": 2}, inputs)


def test_json_is_read_or_refused() -> None:
    assert parse_json("s", {}, ['{"a": [1]}']) == Json({"a": [1]})
    with pytest.raises(StepFailedError, match="is no JSON"):
        parse_json("s", {}, ["{a"])


def test_plain_and_back() -> None:
    for value in (Items(("a", Json({"k": None}))), Docs((Passage("i", "t", "x"),)), Json(1.5), "t", 3):
        assert as_told(plain(value), "f") == value
    with pytest.raises(TypeError, match="returned object"):
        as_told([object()], "f")
    assert as_text(Docs((Passage("i", "", "x"), Passage("i", "t", "y")))) == "x\nt: y"
    assert as_text((Message("user", "a"), Message("tool", "b"))) == "b"
    assert as_text(Json({"a": 1})) == '{"a":1}'
    assert as_text(b"RIFF") is None
