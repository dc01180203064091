"""Makes argv[1] control groups below its own, and a tree argv[2] deep, with long names."""
import os
import subprocess
import sys
import time

group = open("/proc/self/cgroup").read().rsplit("::", 1)[1].strip()
top = "/sys/fs/cgroup" + group
for number in range(int(sys.argv[1])):
    os.mkdir(f"{top}/{number:06}-" + "x" * 100)
os.chdir(top)
for _ in range(int(sys.argv[2])):
    os.mkdir("y" * 200)
    os.chdir("y" * 200)
subprocess.run(["systemd-notify", "--ready"])
signal_of_end = []
import signal
signal.signal(signal.SIGTERM, lambda *_: signal_of_end.append(1))
while not signal_of_end:
    time.sleep(0.2)
# systemd removes what it finds, level by level; the deep one is ours to remove
path = []
while os.getcwd() != top:
    name = os.path.basename(os.getcwd())
    os.chdir("..")
    os.rmdir(name)
for name in os.listdir(top):
    if os.path.isdir(os.path.join(top, name)):
        os.rmdir(os.path.join(top, name))
