"""A queue worker: takes jobs from redis and works on them, or puts them there.

worker.py                    the worker
worker.py dispatch N MODE    N jobs that end well (ok) or go wrong: fail, exit, segv, memory
worker.py forget             no job any more
"""

import os
import signal
import socket
import subprocess
import sys
import time


def main():
    with socket.create_connection(("127.0.0.1", 6379)) as connection:
        redis = connection.makefile("rw", newline="\r\n")
        match sys.argv[1:]:
            case ["dispatch", count, mode]:
                for _ in range(int(count)):
                    print("jobs that wait:", ask(redis, f"RPUSH queue {mode}"))
            case ["forget"]:
                ask(redis, "FLUSHALL")
            case _:
                serve(redis)


def serve(redis):
    while True:
        if mode := ask(redis, "LPOP queue"):
            work(mode)
        else:
            time.sleep(1)


def ask(redis, command):
    redis.write(command + "\r\n")
    redis.flush()
    match redis.readline().strip():
        case "":
            sys.exit("redis has gone")
        case "$-1":
            return None
        case said if said.startswith("$"):
            return redis.readline().strip()
        case said:
            return said.removeprefix(":")


def work(mode):
    print("Processing: a job of mode", mode, flush=True)
    sorted(range(100_000), key=lambda number: -number)
    match mode:
        case "fail":
            print("Failed: the job failed on purpose", file=sys.stderr, flush=True)
        case "exit":
            sys.exit(3)
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "memory":
            # A program that wants more memory than the unit may have, as converters of pictures do.
            status = subprocess.call([sys.executable, "-c", "picture = b'x' * (512 << 20)"])
            print("the converter ended with status", status, file=sys.stderr, flush=True)


main()
