"""Creates argv[1] control groups below its own, and a tree of depth argv[2], with long names."""
import os
import signal
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
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
while not stopped:
    time.sleep(0.2)
# systemd removes control groups level by level; the script removes the deep tree
while os.getcwd() != top:
    name = os.path.basename(os.getcwd())
    os.chdir("..")
    os.rmdir(name)
for name in os.listdir(top):
    if os.path.isdir(os.path.join(top, name)):
        os.rmdir(os.path.join(top, name))
