"""Jobs run side by side, from the cache where they can, and one failure leaves the others be. Bundles are whole."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from weft.compiler.codegen.cache import HASH, Cache
from weft.compiler.codegen.compilers import MemoryCompiler
from weft.compiler.codegen.guarded import Limits
from weft.compiler.codegen.jobs import MADE, Done, Failed, Job, State, key_of, run_jobs, this_cpu, workers_for
from weft.compiler.codegen.staging import staged
from weft.core.errors import BundleError, CompilerError


def silent(name: str, state: State, word: str) -> None:
    pass


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    made: list[Job] = []
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mlir").write_text(name)
        made.append(Job(name, tmp_path / f"{name}.mlir", f"hash of {name}", ("--fast",)))
    return made


def test_the_second_run_compiles_nothing_and_gives_the_same(jobs: list[Job], tmp_path: Path) -> None:
    cache, first, second = Cache(tmp_path / "cache"), MemoryCompiler(), MemoryCompiler()
    fresh = run_jobs(jobs, first, cache, 2, silent)
    again = run_jobs(jobs, second, cache, 2, silent)
    assert sorted(first.compiled) == ["a.mlir", "b.mlir", "c.mlir"]
    assert second.compiled == []
    assert [done.made.read_bytes() for done in fresh if isinstance(done, Done)] == [
        done.made.read_bytes() for done in again if isinstance(done, Done)
    ]
    assert [done.job.name for done in again] == ["a", "b", "c"]


def test_one_failure_leaves_the_others_be_and_is_not_kept(jobs: list[Job], tmp_path: Path) -> None:
    cache, states = Cache(tmp_path / "cache"), dict[str, State]()
    broken = MemoryCompiler(failures={"b": "no such op"})
    outcomes = run_jobs(jobs, broken, cache, 3, lambda name, state, word: states.update({name: state}))
    failed = [each for each in outcomes if isinstance(each, Failed)]
    assert [(each.job.name, each.error.problem, each.log) for each in failed] == [
        ("b", "no such op", "error: no such op\n")
    ]
    assert states == {"a": State.DONE, "b": State.FAILED, "c": State.DONE}
    mended = MemoryCompiler()
    assert all(isinstance(each, Done) for each in run_jobs(jobs, mended, cache, 3, silent))
    assert mended.compiled == ["b.mlir"]


def test_an_interrupted_run_is_gone_on_with(jobs: list[Job], tmp_path: Path) -> None:
    class Interrupted(MemoryCompiler):
        def compile(self, source: Path, flags: tuple[str, ...], made: Path, log: Path):
            if source.stem == "b":
                made.write_text("half")
                raise KeyboardInterrupt
            return super().compile(source, flags, made, log)

    cache = Cache(tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, Interrupted(), cache, 1, silent)
    rest = MemoryCompiler()
    assert all(isinstance(each, Done) for each in run_jobs(jobs, rest, cache, 1, silent))
    assert "a.mlir" not in rest.compiled
    assert "b.mlir" in rest.compiled


def test_the_key_is_of_all_that_makes_a_file(jobs: list[Job]) -> None:
    compiler, job = MemoryCompiler(), jobs[0]
    others = {
        key_of(compiler, job),
        key_of(MemoryCompiler(version="2"), job),
        key_of(MemoryCompiler(name="other"), job),
        key_of(compiler, replace(job, identity="x")),
        key_of(compiler, replace(job, flags=("--fa", "st"))),
        key_of(compiler, replace(job, flags=("--cpu=host",))),
    }
    assert len(others) == 6
    assert key_of(compiler, replace(job, name="z", source=Path("/elsewhere"))) in others
    assert "flags" in this_cpu() or "Features" in this_cpu()
    assert "MHz" not in this_cpu()


def test_workers_are_bounded_by_cores_and_memory() -> None:
    assert workers_for(100, Limits(memory_bytes=1)) == len(os.sched_getaffinity(0))
    assert workers_for(100, Limits(memory_bytes=1e15)) == 1
    assert workers_for(100, Limits(), asked=7) == 7


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "bundle"
    with staged(out) as making:
        (making / "manifest.json").write_text("1")
        (making / "old").write_text("")
        assert not out.exists()
    with pytest.raises(ZeroDivisionError), staged(out) as making:
        (making / "half").write_text("")
        raise ZeroDivisionError
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "old"]
    with staged(out) as making:
        (making / "manifest.json").write_text("2")
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("manifest.json", "2")]
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".bundle.making" / "artifacts").mkdir(parents=True)
    (tmp_path / ".bundle.making" / "half").write_text("")
    with staged(tmp_path / "bundle") as making:
        assert list(making.iterdir()) == []


def test_two_writers_of_one_bundle(tmp_path: Path) -> None:
    with (
        staged(tmp_path / "bundle"),
        pytest.raises(BundleError, match="another weft compile"),
        staged(tmp_path / "bundle"),
    ):
        pass


def test_only_a_bundle_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years")
    (tmp_path / "file").write_text("")
    for name, words in (
        ("thesis", "is not empty and no bundle"),
        ("file", "is a file"),
        ("file/x", "cannot be written"),
    ):
        with pytest.raises(BundleError, match=words), staged(tmp_path / name):
            pass
    assert (tmp_path / "thesis" / "chapter").exists()


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CompilerError, match="no space is left"), staged(tmp_path / "bundle") as making:
        (making / "x").write_text("")
        Path("/dev/full").write_text("x" * 100)
    assert list(tmp_path.iterdir()) == []


def test_above_its_limit_the_cache_lets_go_of_what_was_used_longest_ago(jobs: list[Job], tmp_path: Path) -> None:
    compiler, cache = MemoryCompiler(), Cache(tmp_path / "cache")
    keys = [each.key for each in run_jobs(jobs, compiler, cache, 1, silent) if isinstance(each, Done)]
    for age_h, key in zip((5, 9, 0), keys, strict=True):  # the third was used just now
        then = time.time() - age_h * 3600
        os.utime(cache.folder / key[:2] / key / HASH, (then, then))
    assert cache.find(keys[1], MADE) is not None  # so was the second, now
    small = replace(cache, limit_bytes=1.0)
    (last,) = run_jobs([replace(jobs[0], name="d", identity="d")], compiler, small, 1, silent)
    assert isinstance(last, Done)
    assert [cache.find(key, MADE) is not None for key in (*keys, last.key)] == [False, True, True, True]
