"""Tries to look into another process of its user; prints in which ways it can."""
import ctypes
import os
import sys

pid = int(sys.argv[1])
libc = ctypes.CDLL(None)
PTRACE_SEIZE = 0x4206
can = []
for name in ("mem", "environ", "maps"):
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0):
            can.append(name)
    except OSError:
        pass
try:
    os.listdir(f"/proc/{pid}/fd")
    can.append("fd")
except OSError:
    pass
if libc.ptrace(PTRACE_SEIZE, pid, 0, 0) == 0:
    can.append("trace")
print(*can)
