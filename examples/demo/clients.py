"""Opens 60 connections to port 6001 and keeps them open until stdin is closed."""

import socket
import sys

clients = [socket.socket() for _ in range(60)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", 6001))
sys.stdin.read()
