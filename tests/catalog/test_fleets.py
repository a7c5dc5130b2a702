"""Fleet files: what loads, and that every way of getting one wrong is one error on the right line."""

from pathlib import Path

import pytest

from weft import catalog
from weft.core.errors import CatalogError, FleetError

GOOD = """\
name = "test"            # 1

[[zone]]
name = "a"               # 4
link = "roce-400g"       # 5

[[zone]]
name = "b"               # 8
link = "ethernet-100g"   # 9

[[link]]
between = ["a", "b"]     # 12
link = "wan-10g"         # 13

[[group]]
device = "h100"          # 16
count = 8                # 17
zone = "a"               # 18

[[group]]
device = "L40S"          # 21
count = 4                # 22
zone = "b"               # 23
price_usd = 7500         # 24
cloud_usd_per_hour = 1.2 # 25
"""

BROKEN = [  # (what is replaced, by what, line of the error, what it says)
    ("count = 8 ", "count = 0", 17, ["`count` of [[group]] number 1 is 0", ">= 1"]),
    ("count = 8 ", "count = -3", 17, ["-3", ">= 1"]),
    ("count = 8 ", "count = true", 17, ["true", "expected a whole number, got bool"]),
    ("count = 8 ", "count = 2.5", 17, ["2.5", "whole number"]),
    ("count = 8 ", 'count = "8"', 17, ["'8'", "whole number, got text"]),
    ("count = 8 ", "count = 99999999999999999999999", 17, ["99999", "<= 1000000000"]),
    ("count = 8 ", "cuont = 8", 17, ["`cuont`", "did you mean `count`?"]),
    ("count = 8 ", "", 15, ["`count` of [[group]] number 1 is missing"]),
    ("count = 4 ", "count = 1979-05-27", 22, ["number 2", "whole number"]),
    ("7500", "nan", 24, ["nan", ">= 0"]),
    ("7500", "inf", 24, ["inf", "<="]),
    ("7500", "-1", 24, ["-1", ">= 0"]),
    ("7500", "true", 24, ["true", "expected a number, got bool"]),
    ("1.2 ", "0", 25, ["`cloud_usd_per_hour`", "> 0"]),
    ('"h100" ', '"h1000"', 16, ["'h1000'", "h100-sxm"]),
    ('"h100" ', '""', 16, ["''", ">= 1"]),
    ('"h100" ', "[]", 16, ["[]", "text"]),
    ('zone = "a"', 'zone = "c"', 18, ["'c'", "[[zone]]"]),
    ('name = "b"', 'name = "a"', 8, ["repeats a"]),
    ('link = "roce-400g"', 'link = "roce-40g"', 5, ["'roce-40g'", "roce-400g"]),
    ('["a", "b"]', '["a", "x"]', 12, ["entry 2 of `between` of [[link]] number 1 is 'x'", "did you mean"]),
    ('["a", "b"]', '["a", "a"]', 12, ["to itself"]),
    ('["a", "b"]', '["a"]', 12, ["length >= 2"]),
    ('link = "wan-10g"', "", 11, ["`link` of [[link]] number 1 is missing"]),
    ('name = "test"', "", 1, ["`name` is missing"]),
    ('name = "test"', "nmae = 'test'", 1, ["did you mean `name`"]),
    ('[[zone]]\nname = "b"', '[[zoone]]\nname = "b"', 7, ["`zoone`", "did you mean `zone`"]),
    ("count = 8 ", "count = ", 17, ["not valid TOML"]),
    ("count = 8 ", "count = 8\ncount = 9", 18, ["not valid TOML"]),
    ('name = "a" ', 'name = "a', 4, ["not valid TOML"]),
    ("count = 8 ", "count = " + "9" * 5000, 17, ["not valid TOML"]),
    ("count = 8 ", "count = " + "[" * 100_000, 17, ["not valid TOML"]),
    ("count = 8 ", "note = '''\ncount = 0\n'''\ncount = 0", 17, ["`note`"]),
    ("count = 8 ", "price_source = '''\ncount = 7\n'''\ncount = 0", 20, ["`count`", "is 0"]),
]


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("old", "new", "line", "says"), BROKEN, ids=[f"{row[1][:24]!r}" for row in BROKEN])
def test_a_wrong_fleet_is_one_error_on_its_line(tmp_path: Path, old: str, new: str, line: int, says: list[str]) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(FleetError) as refused:
        catalog.load_fleet(path)
    error = refused.value
    assert error.subject == f"{path}:{line}"
    for words in says:
        assert words in str(error)
    assert error.way_out and len(str(error)) < 600


def test_the_same_device_twice_in_a_zone_is_refused(tmp_path: Path) -> None:
    again = '\n[[group]]\ndevice = "NVIDIA H100 SXM"\ncount = 1\nzone = "a"\n'
    path = write(tmp_path, GOOD + again)
    with pytest.raises(FleetError, match="repeats h100-sxm in zone a, as number 1") as refused:
        catalog.load_fleet(path)
    assert refused.value.subject == f"{path}:28"


def test_two_links_between_the_same_zones_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + '\n[[link]]\nbetween = ["b", "a"]\nlink = "loopback"\n')
    with pytest.raises(FleetError, match="repeats a and b") as refused:
        catalog.load_fleet(path)
    assert refused.value.subject == f"{path}:28"


def test_an_empty_fleet_is_refused(tmp_path: Path) -> None:
    for text in ("", 'name = "x"\ngroup = []\nzone = []\n'):
        with pytest.raises(FleetError):
            catalog.load_fleet(write(tmp_path, text))


@pytest.mark.parametrize("raw", [b'name = "\xff"', b"\x00", "name = 'x'".encode("utf-16")])
def test_bytes_that_are_not_text_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(raw)
    with pytest.raises(FleetError) as refused:
        catalog.load_fleet(path)
    assert refused.value.subject == f"{path}:1"


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(FleetError, match="cannot be read"):
            catalog.load_fleet(path)
    with pytest.raises(FleetError, match="default or paper or two-zones"):
        catalog.load_fleet("nowhere")


def test_a_fleet_loads(tmp_path: Path) -> None:
    fleet = catalog.load_fleet(write(tmp_path, GOOD))
    assert [(group.device.id, group.count, group.zone) for group in fleet.groups] == [
        ("h100-sxm", 8, "a"),
        ("l40s", 4, "b"),
    ]
    assert fleet.groups[0].device == catalog.device("h100")
    assert (fleet.groups[1].device.price_usd, fleet.groups[1].device.cloud_usd_per_hour) == (7500, 1.2)
    assert "fleet.toml" in fleet.groups[1].device.source.note
    assert fleet.link_between("b", "a") == catalog.link("wan-10g")
    assert fleet.link_between("b", "b") == catalog.link("ethernet-100g")


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert catalog.load_fleet(path).name == "test"


def test_bundled_fleets_load_and_can_be_bought() -> None:
    for name in catalog.fleets():
        for group in catalog.load_fleet(name).groups:
            assert group.device.price_usd is not None and group.device.tdp_w is not None


def test_the_papers_fleet_has_the_papers_devices_and_cpus() -> None:
    groups = catalog.load_fleet("paper", "paper").groups
    accelerators = {group.device.id for group in groups if group.device.kind != "cpu"}
    assert accelerators == catalog.devices("paper").keys()
    assert any(group.device.kind == "cpu" for group in groups)


def test_a_fleet_of_devices_that_a_profile_lacks_is_refused() -> None:
    with pytest.raises(FleetError, match="profile 'paper'"):
        catalog.load_fleet("default", "paper")


def test_an_unknown_profile_is_not_the_files_fault() -> None:
    with pytest.raises(CatalogError, match="profile 'pape'"):
        catalog.load_fleet("default", "pape")
