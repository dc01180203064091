"""A stand-in for the services of a real host, for pictures: listens, uses CPU and memory, logs, crashes.

  --listen ADDRESS:PORT[:BACKLOG]  accept connections there
  --accept-pause SECONDS           pause between two connections, up to this long, in waves of ten minutes
  --connect PORT[:RATE]            connect to this port so many times a second, and hold some connections
  --memory MIB, --cpu SHARE        memory to keep, share of one CPU to use
  --children N, --files N          child processes, open files
  --log PRIORITY:SECONDS[:TEXT]    a message of this priority every so many seconds
  --fail HOW@SECONDS               fail after about so long: exit:N, signal:N, hang (no watchdog ping any more), memory
  --run SECONDS                    end with success after so long
"""

import argparse
import math
import os
import random
import signal
import socket
import subprocess
import threading
import time

options = argparse.ArgumentParser()
options.add_argument("--listen", action="append", default=[])
options.add_argument("--accept-pause", type=float, default=0)
options.add_argument("--connect", action="append", default=[])
options.add_argument("--memory", type=int, default=4)
options.add_argument("--cpu", type=float, default=0.002)
options.add_argument("--children", type=int, default=0)
options.add_argument("--files", type=int, default=0)
options.add_argument("--log", action="append", default=[])
options.add_argument("--fail")
options.add_argument("--run", type=float)
options = options.parse_args()

PING = 5
hung = threading.Event()


def main():
    kept = [bytearray(os.urandom(1024) * 1024) for _ in range(options.memory)]
    files = [open(os.devnull) for _ in range(options.files)]
    for address in options.listen:
        in_background(listen, address)
    for port in options.connect:
        in_background(connect, port)
    for message in options.log:
        in_background(log, message)
    for _ in range(options.children):
        subprocess.Popen(["sleep", "infinity"])
    in_background(use_cpu)
    notify("READY=1")
    end = time.monotonic() + (options.run or math.inf)
    how, after = options.fail.split("@") if options.fail else (None, math.inf)
    failure = time.monotonic() + float(after) * random.uniform(0.6, 1.4)
    while time.monotonic() < end:
        if time.monotonic() > failure:
            fail(how)
        if not hung.is_set():
            notify("WATCHDOG=1")
        time.sleep(max(0.1, min(PING, end - time.monotonic(), failure - time.monotonic())))
    del kept, files


def fail(how):
    if how == "hang":
        hung.set()
    elif how == "memory":
        wanted = []
        while True:
            wanted.append(bytearray(os.urandom(1024) * 4096))
    elif how.startswith("signal:"):
        os.kill(os.getpid(), int(how.removeprefix("signal:")))
    else:
        print("<3>unhandled error: connection to backend refused", flush=True)
        os._exit(int(how.removeprefix("exit:")))


def listen(address):
    host, port, *backlog = address.rsplit(":", 2) if address.count(":") > 1 else address.split(":")
    family = socket.AF_INET6 if host == "[]" else socket.AF_INET
    server = socket.create_server(
        ("::" if host == "[]" else host, int(port)),
        family=family,
        backlog=int(backlog[0]) if backlog else 511,
        dualstack_ipv6=family == socket.AF_INET6,
    )
    accepted = []
    while True:
        accepted = accepted[-20:] + [server.accept()]
        wave = 0.5 + 0.5 * math.sin(2 * math.pi * time.time() / 600 + os.getuid())
        time.sleep(options.accept_pause * wave * random.uniform(0.5, 1.5))


def connect(port):
    port, rate = (port + ":1").split(":")[:2]
    held = []
    while True:
        time.sleep(random.expovariate(float(rate)))
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", int(port)))
        held = held[-random.randint(3, 15):] + [client]


def log(message):
    priority, period, *text = message.split(":")
    while True:
        time.sleep(random.expovariate(1 / float(period)))
        print(f"<{priority}>{text[0] if text else 'request finished'}", flush=True)


def use_cpu():
    while True:
        begin = time.thread_time()
        share = options.cpu * random.uniform(0.4, 1.6)
        while time.thread_time() - begin < share:
            pass
        time.sleep(1)


def notify(state):
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def in_background(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
main()
