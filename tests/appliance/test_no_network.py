"""A process that gave up the network cannot have it back, nor can what it starts."""

import subprocess
import sys

import pytest

ATTEMPTS = {
    "an internet socket": "socket.socket()",
    "IPv6": "socket.socket(socket.AF_INET6)",
    "a local socket": "socket.socket(socket.AF_UNIX)",
    "a raw netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a pair": "socket.socketpair()",
    "a name look-up": "socket.getaddrinfo('localhost.example', 80)",
    "a connection": "socket.create_connection(('127.0.0.1', 9))",
    "an inherited socket": "inherited.connect(('127.0.0.1', 9))",
    "another thread": "run_in_thread(socket.socket)",
    "another process": "subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'], "
    "check=True, stderr=subprocess.DEVNULL)",
}
PREPARED = """
import socket, subprocess, sys, threading
from appliance.edges.no_network import forbid_network
def run_in_thread(act):
    failures = []
    def body():
        try: act()
        except OSError as exc: failures.append(exc)
    thread = threading.Thread(target=body); thread.start(); thread.join()
    if failures: raise failures[0]
inherited = socket.socket()
"""


def run(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PREPARED + script], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_no_way_to_the_network_is_left(attempt: str) -> None:
    script = f"""
if not forbid_network(): print("unsupported"); sys.exit()
try:
    {attempt}
except PermissionError: print("refused")
except socket.gaierror: print("refused")
except subprocess.CalledProcessError: print("refused")
else: print("opened")
"""
    done = run(script)
    if done.stdout == "unsupported\n":
        pytest.skip("this machine has no seccomp filter")
    assert done.stdout == "refused\n", done.stderr


def test_the_32_bit_kind_of_call_is_refused_too() -> None:
    script = """
import ctypes
forbid_network() or sys.exit(print("unsupported"))
libc = ctypes.CDLL(None, use_errno=True)
X32_SOCKET = 0x40000000 + 41
print(libc.syscall(X32_SOCKET, 2, 1, 0), ctypes.get_errno())
"""
    assert run(script).stdout in ("-1 1\n", "unsupported\n")


def test_pipes_and_files_go_on_working() -> None:
    script = """
forbid_network()
done = subprocess.run([sys.executable, "-c", "print(open('/proc/self/stat').read()[:1])"],
                      capture_output=True, text=True, check=True)
print(done.stdout.strip().isdigit())
"""
    assert run(script).stdout == "True\n"


def test_local_sockets_may_be_left_and_no_others() -> None:
    script = """
forbid_network(but_local=True) or sys.exit(print("unsupported"))
socket.socketpair()
socket.socket(socket.AF_UNIX)
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, 17, 40):
    try: socket.socket(family, socket.SOCK_RAW if family == socket.AF_NETLINK else 1)
    except PermissionError: print("refused")
try: run_in_thread(socket.socket)
except PermissionError: print("refused in a thread")
"""
    assert run(script).stdout in ("refused\n" * 5 + "refused in a thread\n", "unsupported\n")
