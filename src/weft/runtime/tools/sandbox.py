"""What a tool's process gives up before it loads the tool: memory, files without end, its parent's death, the network.

On Linux the kernel keeps the network away: a seccomp filter, which needs no privileges, is inherited and cannot be
taken off, refuses `socket` and what would reach round it (io_uring, other processes' memory and descriptors). It
refuses `setsid` too, so that ending the process group ends all that the tool started. Elsewhere an audit hook of
Python does, which guards against accidents only. Files are not guarded: a tool reads what its user may read.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from typing import Any

FILE_BYTES = 256 * 1024**2  # the largest file that a tool may write
OPEN_FILES = 256
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
FILTER_MODE = 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of classic BPF: a word, two jumps, the verdict
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # 1: EPERM
NR_OFFSET, ARCH_OFFSET = 0, 4
X32_BIT = 0x40000000

# socket, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, pidfd_getfd; then setsid, setpgid
_CALLS = {
    "x86_64": (0xC000003E, (41, 101, 310, 311, 425, 438), (112, 109)),
    "aarch64": (0xC00000B7, (198, 117, 270, 271, 425, 438), (157, 154)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def enclose(memory_bytes: int, *, network: bool, own_sessions: bool) -> str:
    """Limits this process and all that it starts. Returns who blocks the network: "kernel", "python" or ""."""
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    die_with_parent()
    if network:
        return ""
    if _filter_calls(own_sessions):
        return "kernel"
    sys.addaudithook(_refuse_sockets)
    return "python"


def die_with_parent() -> None:
    """Linux only: a node that is killed leaves no tool behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def exec_tied(command: list[str]) -> None:
    """Becomes a program that dies with its parent; it may lead a session of its own."""
    die_with_parent()
    os.execvp(command[0], command)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(what, (least, least))
    except (ValueError, OSError):
        if what != resource.RLIMIT_AS:  # macOS knows no limit of address space
            raise


def _filter_calls(own_sessions: bool) -> bool:
    known = _CALLS.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    arch, reaching_out, leaving = known
    code = filter_code(arch, reaching_out if own_sessions else (*reaching_out, *leaving))
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program), 0, 0) == 0


def filter_code(arch: int, refused: Iterable[int]) -> bytes:
    """Of another architecture, or of x32: refused. Of the listed calls: refused. Else allowed."""
    numbers = tuple(refused)
    to_refusal = len(numbers) + 1  # instructions between the x32 test and the last one
    code = [
        (LOAD, 0, 0, ARCH_OFFSET),
        (EQUAL, 0, to_refusal + 2, arch),
        (LOAD, 0, 0, NR_OFFSET),
        (AT_LEAST, to_refusal, 0, X32_BIT),
        *((EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _refuse_sockets(event: str, _: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.exec"):
        raise PermissionError(f"{event}: tools have no network unless they declare it")
