"""docs/ir.md lists the ops, types and passes that there are."""

from tools import ir_docs


def test_the_tables_are_current() -> None:
    assert ir_docs.main(["--check"]) == 0
