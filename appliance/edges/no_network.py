"""Takes the network away from this process and all it starts, for good.

A seccomp filter (Linux, x86-64 and 64-bit ARM): making or connecting a socket of any kind fails
with EPERM, and so does io_uring, by which a socket could be made past the filter. Everything else
is allowed; pipes and open descriptors go on working. A weaker one leaves the sockets of this
machine alone, for libraries that wake their threads by one.
"""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
"""linux/prctl.h and linux/seccomp.h."""
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | 1
"""SECCOMP_RET_ERRNO with EPERM (linux/seccomp.h)."""

LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
"""Classic BPF (linux/bpf_common.h): word at an offset, jumps on a constant, return."""
NUMBER_AT, ARCHITECTURE_AT, FAMILY_AT = 0, 4, 16
"""Offsets in struct seccomp_data; the family is the low word of a call's first argument."""
AF_UNIX = 1
X32_CALLS = 0x40000000
"""From here the x86-64 kernel counts calls of the x32 kind, sockets among them."""

IO_URING_SETUP = 425
CALLS = {
    # socket, connect, accept, bind, listen, socketpair, accept4
    "x86_64": (0xC000003E, (41, 42, 43, 49, 50, 53, 288, IO_URING_SETUP)),
    "aarch64": (0xC00000B7, (198, 203, 202, 200, 201, 199, 242, IO_URING_SETUP)),
}
"""AUDIT_ARCH_* (linux/audit.h) and the refused calls' numbers, by machine."""


def forbid_network(*, but_local: bool = False) -> bool:
    """True when it is forbidden from here on, in this thread and all started after this call; False
    on a machine where that cannot be done. With `but_local` sockets within this machine (AF_UNIX)
    stay allowed, and no others can be made."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in CALLS or sys.maxsize < 1 << 32:
        return False
    architecture, calls = CALLS[machine]
    program = (
        _program(architecture, (IO_URING_SETUP,), calls[0])
        if but_local
        else _program(architecture, calls)
    )
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: count of instructions, padding, their address
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    prctl = ctypes.CDLL(None).prctl
    number = ctypes.c_ulong
    if prctl(PR_SET_NO_NEW_PRIVS, number(1), number(0), number(0), number(0)) != 0:
        return False
    mode = number(SECCOMP_MODE_FILTER)
    return bool(prctl(PR_SET_SECCOMP, mode, header, number(0), number(0)) == 0)


def _program(architecture: int, refused: tuple[int, ...], only_local: int | None = None) -> bytes:
    """Instructions of 8 bytes: struct sock_filter {code, jump if true, jump if false, k}. The call
    `only_local`, if given, is refused unless its first argument is AF_UNIX."""
    checks = [(JUMP_IF_AT_LEAST, X32_CALLS), *((JUMP_IF_EQUAL, call) for call in refused)]
    family = []
    if only_local is not None:
        family = [
            (JUMP_IF_EQUAL, 0, 2, only_local),
            (LOAD_WORD, 0, 0, FAMILY_AT),
            (JUMP_IF_EQUAL, 0, 1, AF_UNIX),
        ]
    to_refusal = len(family) + len(checks)
    lines = [
        (LOAD_WORD, 0, 0, ARCHITECTURE_AT),
        # A call of the machine's 32-bit kind has other numbers: it jumps to the refusal.
        (JUMP_IF_EQUAL, 0, to_refusal + 2, architecture),
        (LOAD_WORD, 0, 0, NUMBER_AT),
    ]
    lines += [(check, to_refusal - i, 0, k) for i, (check, k) in enumerate(checks)]
    lines += [*family, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)
