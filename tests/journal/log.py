"""Usage: HOW COUNT RATE [PRIORITY...]. Logs COUNT messages at RATE per second, to journald's native socket ("native") or
to stdout, with the priorities in turn (default: all). The sender must live until journald has received the messages of
the socket: journald looks up the sender's unit only then."""
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
started = time.monotonic()
for n in range(count):
    priority = priorities[n % len(priorities)]
    if how == "native":
        journal.send(f"PRIORITY={priority}\nMESSAGE=number {n}\nNUMBER={n}\n".encode())
    else:
        print(f"<{priority}>number {n}", flush=True)
    time.sleep(max(0, started + (n + 1) / rate - time.monotonic()))


def queued_bytes():
    return struct.unpack("i", fcntl.ioctl(journal, termios.TIOCOUTQ, b"0123"))[0]


deadline = time.monotonic() + 20
while queued_bytes() and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.05)
