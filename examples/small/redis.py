"""A minimal Redis: lists with the inline commands RPUSH, LPOP, LLEN and FLUSHALL."""

import collections
import socketserver

from notify import ready

lists = collections.defaultdict(collections.deque)


def answer(command, *arguments):
    match command.upper(), arguments:
        case "RPUSH", (name, *values):
            lists[name].extend(values)
            return f":{len(lists[name])}"
        case "LPOP", (name,):
            value = lists[name].popleft() if lists[name] else None
            return "$-1" if value is None else f"${len(value)}\r\n{value}"
        case "LLEN", (name,):
            return f":{len(lists[name])}"
        case "FLUSHALL", ():
            lists.clear()
            return "+OK"
    return "-ERR unknown command"


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if words := line.decode("ascii", "replace").split():
                self.wfile.write(answer(*words).encode() + b"\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("127.0.0.1", 6379), Connection) as server:
    ready()
    server.serve_forever()
