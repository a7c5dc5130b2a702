"""Workload and objective files."""

from pathlib import Path

import pytest

from weft import catalog
from weft.core.errors import CatalogError

GOOD = """\
name = "busy"
rate_per_s = 2.5

[steps.think]
isl = 512
osl = 128.5

[steps."transcribe"]
core_s = 0
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "file.toml"
    path.write_text(text)
    return path


def test_a_workload_loads(tmp_path: Path) -> None:
    workload = catalog.load_workload(write(tmp_path, GOOD))
    assert (workload.name, workload.rate_per_s) == ("busy", 2.5)
    assert workload.steps == {"think": {"isl": 512, "osl": 128.5}, "transcribe": {"core_s": 0}}


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("2.5", "0", 2, "> 0"),
        ("2.5", "nan", 2, "> 0"),
        ("rate_per_s", "rate", 2, "did you mean `rate_per_s`"),
        ("rate_per_s = 2.5", "", 1, "missing"),
        ("512", "0", 5, "`isl` of [steps.think] is 0, expected a number > 0"),
        ("512", "true", 5, "true"),
        ("128.5", "nan", 6, "nan"),
        ("128.5", "'many'", 6, "'many'"),
        ("core_s = 0", "core_s = -1", 9, ">= 0"),
        ('[steps."transcribe"]\ncore_s', "[steps]\nother", 9, "`other` of [steps] is 0, expected a table"),
        ("[steps.think]", "[step.think]", 4, "did you mean `steps`"),
    ],
)
def test_a_wrong_workload_is_one_error_on_its_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(CatalogError) as refused:
        catalog.load_workload(path)
    assert refused.value.subject == f"{path}:{line}"
    assert says in str(refused.value)


def test_an_objective_can_be_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "mine"\ne2e_s = 3\n')
    objective = catalog.slo(path)
    assert (objective.name, objective.ttft_s, objective.e2e_s) == ("mine", None, 3)
    assert catalog.slo(str(path)) == objective


def test_a_wrong_objective_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "mine"\n\nttft = 0.2\n')
    with pytest.raises(CatalogError, match="did you mean `ttft_s`") as refused:
        catalog.slo(path)
    assert refused.value.subject == f"{path}:3"
