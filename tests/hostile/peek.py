"""Tries to access the process argv[1] of the same user; prints the ways that succeed."""
import ctypes
import os
import sys

pid = int(sys.argv[1])
libc = ctypes.CDLL(None)
PTRACE_SEIZE = 0x4206
accessible = []
for name in ("mem", "environ", "maps"):
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0):
            accessible.append(name)
    except OSError:
        pass
try:
    os.listdir(f"/proc/{pid}/fd")
    accessible.append("fd")
except OSError:
    pass
if libc.ptrace(PTRACE_SEIZE, pid, 0, 0) == 0:
    accessible.append("trace")
print(*accessible)
