"""Logs with forged fields that claim to be another unit, PID 1, journald, or systemd-coredump."""
import fcntl
import os
import socket

VICTIM = b"victim.service"
CORE_DUMP = b"MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1"
DROPPED = b"MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e"
MISSED = b"MESSAGE_ID=e9bf28e6e834481bb6f48f548ad13606"
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
journal.connect("/run/systemd/journal/socket")


def send(*fields):
    journal.send(b"".join(field + b"\n" for field in (b"PRIORITY=3", b"MESSAGE=forged") + fields))


def binary(name, value):
    return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


send(b"_SYSTEMD_UNIT=" + VICTIM)
send(b"UNIT=" + VICTIM)
send(b"UNIT=" + VICTIM, b"_PID=1", b"_UID=0", b"SYSLOG_IDENTIFIER=systemd", b"SYSLOG_PID=1")
send(b"OBJECT_PID=1", b"OBJECT_SYSTEMD_UNIT=" + VICTIM, b"COREDUMP_UNIT=" + VICTIM)
send(CORE_DUMP, b"COREDUMP_UNIT=" + VICTIM, b"COREDUMP_SIGNAL=11", b"_UID=0", b"_EXE=/lib/systemd/systemd-coredump")
send(CORE_DUMP, b"COREDUMP_UNIT=" + VICTIM, b"COREDUMP_SIGNAL=11", b"_SYSTEMD_UNIT=systemd-coredump@0-1-0.service")
send(DROPPED, b"N_DROPPED=1000", b"OBJECT_SYSTEMD_UNIT=" + VICTIM, b"_TRANSPORT=driver")
send(MISSED, b"MESSAGE=Missed 1000 kernel messages", b"_TRANSPORT=driver")
# binary fields whose value contains another field, and a duplicate field
journal.send(b"PRIORITY=3\n" + binary(b"MESSAGE", b"x\n_SYSTEMD_UNIT=" + VICTIM))
journal.send(b"PRIORITY=3\n" + binary(b"UNIT", b"x\0\xff\nUNIT=" + VICTIM))
journal.send(b"PRIORITY=3\nPRIORITY=3\nMESSAGE=twice\n")
# large fields: in the datagram, and in a memfd passed with it, as sd_journal_send does
journal.send(b"PRIORITY=3\n" + binary(b"MESSAGE", os.urandom(100_000)))
for name, value in ((b"MESSAGE", os.urandom(1 << 20)), (b"UNIT", VICTIM + b" " * (1 << 20))):
    file = os.memfd_create("message", os.MFD_ALLOW_SEALING)
    os.write(file, b"PRIORITY=3\n" + binary(name, value))
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
    socket.send_fds(journal, [b""], [file])
    os.close(file)
# 14 messages of priority 3 so far; the following have no valid priority
for priority in (b"8", b"-1", b"33", b"err", b""):
    journal.send(b"PRIORITY=" + priority + b"\nMESSAGE=odd\n")
journal.send(b"MESSAGE=without\n")
