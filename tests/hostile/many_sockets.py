"""Creates argv[1] control groups with argv[2] listening sockets each; with 0 groups, argv[2] sockets in its own."""
import ctypes
import os
import resource
import socket
import struct
import subprocess
import sys
import time

groups, sockets = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
CLONE3, CLONE_FILES, CLONE_INTO_CGROUP, SIGCHLD = 435, 0x400, 0x200000000, 17
group = open("/proc/self/cgroup").read().rsplit("::", 1)[1].strip()
top = "/sys/fs/cgroup" + group
made = 0


def listen():
    """Opens another listening socket, on an unused address, and leaves it open."""
    global made
    address = f"127.{1 + made // 62500 % 250}.{made // 250 % 250}.{1 + made % 250}"
    made += 1
    listener = socket.socket()
    listener.bind((address, 2000))
    listener.listen(1)
    listener.detach()


for number in range(groups):
    path = f"{top}/{number}"
    os.mkdir(path)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    arguments = struct.pack("11Q", CLONE_FILES | CLONE_INTO_CGROUP, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, directory)
    child = libc.syscall(CLONE3, arguments, len(arguments))
    if child == 0:
        # the child is in the group and shares its parent's descriptors: the sockets stay open when it exits
        for _ in range(sockets):
            listen()
        os._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(child, 0)
    made += sockets
    os.close(directory)
if not groups:
    # as many per process as RLIMIT_NOFILE allows
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100
    for first in range(0, sockets, room):
        made = first
        reader, writer = os.pipe()
        if os.fork() == 0:
            for _ in range(min(room, sockets - first)):
                listen()
            os.close(writer)
            time.sleep(100000)
        os.close(writer)
        assert os.read(reader, 1) == b""
        os.close(reader)
subprocess.run(["systemd-notify", "--ready"], close_fds=True)
time.sleep(100000)
