"""Logs so many messages at so many a second, over journald's own socket or on stdout, of one priority or of each.
Over the socket it stays until journald has taken them, which looks up whose they are then."""
import fcntl
import socket
import struct
import sys
import termios
import time

how, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
priorities = sys.argv[4:] or list("01234567")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.connect("/run/systemd/journal/socket")
begun = time.monotonic()
for n in range(count):
    priority = priorities[n % len(priorities)]
    if how == "native":
        journal.send(f"PRIORITY={priority}\nMESSAGE=number {n}\nNUMBER={n}\n".encode())
    else:
        print(f"<{priority}>number {n}", flush=True)
    time.sleep(max(0, begun + (n + 1) / rate - time.monotonic()))


def untaken():
    return struct.unpack("i", fcntl.ioctl(journal, termios.TIOCOUTQ, b"0123"))[0]


until = time.monotonic() + 20
while untaken() and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.05)
