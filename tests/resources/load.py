"""A service with a known usage of every resource. argv[1]: a file on a disk, to write 50 MiB to."""
import mmap
import os
import sys
import threading
import time

memory = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, len(memory), mmap.PAGESIZE):
    memory[page] = 1
descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(500 - len(os.listdir("/proc/self/fd")) + 1)]

with open(sys.argv[1], "wb", buffering=0) as disk:
    for _ in range(50):
        disk.write(os.urandom(1 << 20))
    os.fsync(disk.fileno())

for _ in range(7):
    if os.fork() == 0:
        time.sleep(10_000)
for _ in range(39):
    threading.Thread(target=time.sleep, args=(10_000,), daemon=True).start()
while os.times().user < 2:
    pass
open("/run/load-is-ready", "w").close()
time.sleep(10_000)
