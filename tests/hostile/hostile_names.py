"""Eleven processes with hostile names and arguments, each in a control group with a hostile name."""
import os
import subprocess
import time

COMMS = [b'a"}\nx 1', b"a) R 1 (b", b"\xff\xfe", b"\xff", b"two\nlines", b") Z 0 0 0 0 0 0", b"))))))", b"((((((",
         b" ", b"\\", b"\xc3\x28"]
GROUPS = [b"\xff", b"\xfe", b'"}', b" ", b"a b", b"\\x2d", b"..x", b"\xc3\x28", b"\t", b"0::", b"x" * 255]

group = open("/proc/self/cgroup", "rb").read().rsplit(b"::", 1)[1].strip()
top = b"/sys/fs/cgroup" + group
for comm, name in zip(COMMS, GROUPS):
    os.mkdir(top + b"/" + name)
    child = os.fork()
    if child == 0:
        open("/proc/self/comm", "wb").write(comm)
        os.execv("/bin/sleep", [b"\xff\n\"} 1", b"100000"])
    with open(top + b"/" + name + b"/cgroup.procs", "w") as procs:
        procs.write(str(child))
time.sleep(0.5)
subprocess.run(["systemd-notify", "--ready"])
time.sleep(100000)
