"""What a wheel compiles is there, an editable install needs no mypyc, and the source tree holds no compiled module."""

from pathlib import Path

from tools import build_backend

SOURCE = Path(build_backend.__file__).parents[1] / "src" / "weft"


def test_every_compiled_module_exists_once() -> None:
    assert len(set(build_backend.MODULES)) == len(build_backend.MODULES)
    assert [name for name in build_backend.MODULES if not (SOURCE / f"{name}.py").exists()] == []


def test_only_a_wheel_needs_mypyc_and_only_if_it_is_to_be_compiled() -> None:
    assert build_backend.MYPY not in build_backend.get_requires_for_build_editable()
    assert build_backend.MYPY not in build_backend.get_requires_for_build_wheel({"compile": "no"})


def test_the_source_tree_runs_no_compiled_module() -> None:
    assert [*SOURCE.rglob("*.so"), *SOURCE.rglob("*.pyd")] == []
