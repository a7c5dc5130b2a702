"""A compiler process is ended when it goes over a limit, and its failure is one line with the reason."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from weft.compiler.codegen.cache import LEFT_OVER_S, Cache
from weft.compiler.codegen.compilers import IreeCompile
from weft.compiler.codegen.guarded import Guard, Limits, excerpt, first_error
from weft.core.errors import CompilerError, InputError, MissingProgramError
from weft.core.units import MEGA

X86 = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=x86-64-v3",
)
ADD = """func.func @add(%a: tensor<4xf32>, %b: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.addf %a, %b : tensor<4xf32>
  return %0 : tensor<4xf32>
}
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def failure(guard: Guard, code: str, log: Path) -> str:
    with pytest.raises(CompilerError) as raised:
        guard.run(python(code), log, "unit")
    return raised.value.problem


def test_what_a_child_prints_and_takes_is_kept(tmp_path: Path) -> None:
    code = "import sys, time; print('out'); print('err', file=sys.stderr); x = bytearray(10**8); time.sleep(0.5)"
    usage = Guard().run(python(code), tmp_path / "log", "unit")
    assert (tmp_path / "log").read_text().split() == ["out", "err"]
    assert usage.cpu_s > 0
    if Path("/proc/self/status").exists():
        assert 100 * MEGA < usage.memory_bytes < 130 * MEGA


def test_a_large_parent_is_not_taken_for_its_child(tmp_path: Path) -> None:
    held = bytearray(400 * 10**6)
    assert failure(Guard(Limits(300 * MEGA)), "raise SystemExit('broken')", tmp_path / "log") == "broken"
    assert held


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("bytearray(10**9)", "needed more than its 0.4 GB of memory"),
        ("import os; print('x.mlir:1:2: error: no such op'); os._exit(1)", "no such op"),
        ("import os, signal; print('error: in pass'); os.kill(os.getpid(), signal.SIGABRT)", "SIGABRT"),
        ("raise SystemExit(3)", "ended with exit code 3 and said nothing"),
        ("print('OSError: [Errno 28] No space left on device'); raise SystemExit(1)", "no space left on the disk"),
    ],
)
def test_a_failure_is_one_line(code: str, words: str, tmp_path: Path) -> None:
    problem = failure(Guard(Limits(400 * MEGA)), code, tmp_path / "log")
    assert words in problem
    assert "\n" not in problem


def test_address_space_that_is_not_touched_may_be_free(tmp_path: Path) -> None:
    free = Guard(Limits(300 * MEGA, address_space=False))
    free.run(python("import mmap; mmap.mmap(-1, 10**9)"), tmp_path / "log", "unit")
    code = "import time; x = bytearray(b'x') * 10**9; time.sleep(20)"
    assert "needed more than its 0.3 GB" in failure(free, code, tmp_path / "log")


def test_a_long_log_keeps_its_first_error(tmp_path: Path) -> None:
    code = "print('m.mlir:1:1: error: the cause'); print('x' * 10**6); print('error: it fell'); raise SystemExit(1)"
    assert failure(Guard(), code, tmp_path / "log") == "the cause"
    assert len(excerpt(tmp_path / "log")) < 140_000


def test_children_of_a_child_end_with_it(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(30)'])"
    started = time.monotonic()
    assert "took over" in failure(Guard(Limits(time_s=0.3)), code, tmp_path / "log")
    assert time.monotonic() - started < 20


def test_stop_ends_what_runs_and_starts_nothing_more(tmp_path: Path) -> None:
    guard = Guard()
    threading.Timer(0.3, guard.stop).start()
    assert failure(guard, "import time; time.sleep(30)", tmp_path / "log") == "was stopped"
    assert failure(guard, "pass", tmp_path / "log") == "was not started"


def test_a_shell_cannot_be_tricked_by_arguments(tmp_path: Path) -> None:
    Guard().run([*python("import sys; print(sys.argv[1])"), "$(id); '\""], tmp_path / "log", "unit")
    assert (tmp_path / "log").read_text() == "$(id); '\"\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.mlir:3:1: error: bad\nmore", "bad"),
        ("error: the thing\n\x1b[31mx", "the thing"),
        ("it broke\n", "it broke"),
        ("", ""),
    ],
)
def test_first_error(text: str, reason: str) -> None:
    assert first_error(text) == reason
    assert len(first_error(f"error: {'x' * 9000}")) == 240


def test_iree_compiles_the_same_bytes_and_refuses_in_one_line(tmp_path: Path) -> None:
    """Wherever the module lies, and wherever it is compiled."""
    compiler, made = IreeCompile(), list[bytes]()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.mlir").write_text(ADD)
        compiler.compile(folder / f"{name}.mlir", X86, folder / "made", folder / "log")
        made.append((folder / "made").read_bytes())
    assert made[0] == made[1]
    (tmp_path / "bad.mlir").write_text(ADD.replace("arith.addf", "arith.nothing"))
    with pytest.raises(CompilerError, match=r"arith\.nothing"):
        compiler.compile(tmp_path / "bad.mlir", X86, tmp_path / "made", tmp_path / "log")
    assert "@" in compiler.version


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    compiler = IreeCompile()
    compiler.__dict__["program"] = tmp_path / "no-compiler"
    with pytest.raises(CompilerError, match=r"not found|No such file"):
        compiler.compile(tmp_path / "m", (), tmp_path / "a", tmp_path / "log")
    assert MissingProgramError.exit_code == 2


def test_cache_gives_back_what_was_stored_and_nothing_else(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path / "cache"), tmp_path / "a.vmfb"
    assert cache.find("ab12", "a.vmfb") is None
    made.write_bytes(b"artifact")
    stored = cache.store("ab12", made)
    assert not made.exists()
    assert cache.find("ab12", "a.vmfb") == stored
    made.write_bytes(b"of another run")
    assert cache.store("ab12", made).read_bytes() == b"artifact"
    stored.write_bytes(b"artifac")  # cut short
    assert cache.find("ab12", "a.vmfb") is None
    assert not stored.exists()
    assert not list((tmp_path / "cache").glob(".making-*"))


def test_what_killed_runs_left_in_the_cache_goes_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".making-old", tmp_path / ".making-young"
    for folder, age_s in ((old, 2 * LEFT_OVER_S), (young, 60.0)):
        folder.mkdir()
        os.utime(folder, (time.time() - age_s,) * 2)
    with Cache(tmp_path).scratch() as scratch:
        assert sorted(tmp_path.iterdir()) == sorted([young, scratch])


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="give --cache"), Cache(tmp_path / "file").scratch():
        pass
