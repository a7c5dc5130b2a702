"""`weft catalog`: tables fit 100 columns, JSON carries sources."""

import json

import pytest
from typer.testing import CliRunner

from weft import catalog
from weft.cli.catalog import app
from weft.core.errors import CatalogError


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


@pytest.mark.parametrize("table", ["devices", "models", "links", "architectures", "cpu-steps"])
def test_tables_list_every_row_in_100_columns(table: str) -> None:
    lines = run(table).splitlines()
    assert len(lines) == 1 + len(getattr(catalog, table.replace("-", "_"))())
    assert max(map(len, lines)) <= 100
    assert not any("…" in line for line in lines)


ROWS = [
    ("devices", "H100"),
    ("models", "llama 3 8b"),
    ("links", "wan-10g"),
    ("architectures", "SDXL"),
    ("cpu-steps", "tokenise"),
]


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_one_row_shows_its_source(table: str, name: str) -> None:
    row = getattr(catalog, table.removesuffix("s").replace("-", "_"))(name)
    output = run(table, name)
    assert row.source.as_of in output
    assert row.source.url.split()[0] in output
    shown = json.loads(run(table, name, "--json"))
    assert shown["source"]["url"] == row.source.url
    assert shown["id"] == row.id


def test_json_lists_si_values() -> None:
    rows = {row["id"]: row for row in json.loads(run("devices", "--profile", "paper", "--json"))}
    assert rows["h100-sxm"]["flops_per_s"]["fp16"] == 1979e12
    assert rows["h100-sxm"]["memory_bytes_per_s"] == 3350e9


def test_an_unknown_device_is_the_catalogues_error() -> None:
    with pytest.raises(CatalogError, match="h100-sxm"):
        run("devices", "h1000")
