"""Reuses the pid argv[3] for argv[4] seconds: asleep in the control group argv[1], then stopped in argv[2]; prints how often."""
import ctypes
import os
import signal
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
CLONE3, CLONE_INTO_CGROUP = 435, 0x200000000
groups = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in sys.argv[1:3]]
pid = (ctypes.c_int * 1)(int(sys.argv[3]))
end = time.monotonic() + float(sys.argv[4])
count = 0
while time.monotonic() < end:
    for group, stops in zip(groups, (False, True)):
        arguments = struct.pack(
            "11Q", CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(pid), 1, group
        )
        child = libc.syscall(CLONE3, arguments, len(arguments))
        if child == 0:
            if stops:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1000)
        if child < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        assert child == pid[0]
        time.sleep(0.03)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        # start times of processes have a resolution of 10 ms
        time.sleep(0.012)
        count += 1
print(count)
