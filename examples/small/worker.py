"""A queue worker: takes jobs from redis and runs them, or adds jobs.

worker.py                    run the worker
worker.py dispatch N MODE    add N jobs that succeed (ok) or fail in a way: fail, exit, segv, memory
worker.py clear              remove all jobs
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
                    print("queued jobs:", call(redis, f"RPUSH queue {mode}"))
            case ["clear"]:
                call(redis, "FLUSHALL")
            case _:
                serve(redis)


def serve(redis):
    while True:
        if mode := call(redis, "LPOP queue"):
            work(mode)
        else:
            time.sleep(1)


def call(redis, command):
    redis.write(command + "\r\n")
    redis.flush()
    match redis.readline().strip():
        case "":
            sys.exit("redis closed the connection")
        case "$-1":
            return None
        case reply if reply.startswith("$"):
            return redis.readline().strip()
        case reply:
            return reply.removeprefix(":")


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
            # A program that exceeds the unit's memory limit, such as an image converter.
            status = subprocess.call([sys.executable, "-c", "image = b'x' * (512 << 20)"])
            print("the converter exited with status", status, file=sys.stderr, flush=True)


main()
