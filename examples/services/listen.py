"""Listens on a port of the loopback address and says OK to every line."""

import socketserver
import sys


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        for _ in self.rfile:
            self.wfile.write(b"OK\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


Server(("127.0.0.1", int(sys.argv[1])), Connection).serve_forever()
