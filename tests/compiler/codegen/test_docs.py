"""The table of devices in docs/compile.md is the one that the code goes by."""

import re
from pathlib import Path

import pytest

from weft.compiler.codegen.devices import as_markdown

PAGE = Path(__file__).parents[3] / "docs" / "compile.md"
TABLE = re.compile(r"(?<=test_docs.py -->\n).*?(?=\n<!-- end -->)", re.DOTALL)


def test_the_table_of_devices_is_the_codes_own(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text()
    if request.config.getoption("--golden"):
        text = TABLE.sub(lambda _: as_markdown(), text)
        PAGE.write_text(text)
    assert TABLE.findall(text) == [as_markdown()]
