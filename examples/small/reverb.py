"""Listens on port 6001 and answers every line with OK."""

import socketserver

from notify import ready


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        for _ in self.rfile:
            self.wfile.write(b"OK\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 32


with Server(("0.0.0.0", 6001), Connection) as server:
    ready()
    server.serve_forever()
