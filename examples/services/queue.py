"""Asks redis for work every second and works on it: some memory, some CPU."""

import socket
import time

with socket.create_connection(("127.0.0.1", 6379)) as redis:
    while True:
        redis.sendall(b"RPOP queue\r\n")
        if not redis.recv(64):
            raise SystemExit("redis has gone")
        sorted(range(100_000), key=lambda number: -number)
        time.sleep(1)
