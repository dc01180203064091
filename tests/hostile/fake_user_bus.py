"""A bus of the user who runs this, in place of that user's own: attacks the client that connects.

Usage: fake_user_bus.py SOCKET MODE
"""
import os, socket, struct, sys, threading, time

PATH, MODE = sys.argv[1:]


def unread_socket():
    """A TCP socket whose last close takes an hour: its peer never reads what it still has to send."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    peer, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    client.setblocking(False)
    try:
        while True:
            client.send(b"x" * 65536)
    except BlockingIOError:
        pass
    return client, (listener, peer)


def padding(data, to):
    return b"\0" * (-len(data) % to)


def message(kind, fields, body=b"", length=None):
    head = b""
    for one in fields:
        head += padding(head, 8) + one
    announced = len(body) if length is None else length
    start = struct.pack("<cBBBIII", b"l", kind, 0, 1, announced, 1, len(head))
    return start + head + padding(head, 8) + body


def field(code, signature, value):
    if signature in ("s", "o"):
        value = struct.pack("<I", len(value)) + value.encode() + b"\0"
    elif signature == "g":
        value = bytes([len(value)]) + value.encode() + b"\0"
    else:
        value = struct.pack("<I", value)
    return bytes([code, 1]) + signature.encode() + b"\0" + value


def signal(member, signature="", body=b""):
    manager = "org.freedesktop.systemd1.Manager"
    fields = [field(1, "o", "/org/freedesktop/systemd1"), field(2, "s", manager)]
    fields += [field(3, "s", member), field(7, "s", ":1.0")]
    return message(4, fields + ([field(8, "g", signature)] if signature else []), body)


def text(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def reply(serial, body=b"", signature="", sender="org.freedesktop.DBus"):
    fields = [field(5, "u", serial), field(7, "s", sender)]
    return message(2, fields + ([field(8, "g", signature)] if signature else []), body)


def calls(client, rest):
    """The serial, member and body of each call of the client."""
    buffer = rest
    while True:
        while len(buffer) >= 16:
            body, serial, fields = struct.unpack("<III", buffer[4:16])
            end = 16 + (fields + 7 & ~7) + body
            if len(buffer) < end:
                break
            head = buffer[16 : 16 + fields]
            at = head.index(b"\x03\x01s\0") + 4
            member = head[at + 4 : at + 4 + struct.unpack("<I", head[at : at + 4])[0]]
            yield serial, member.decode(), buffer[end - body : end]
            buffer = buffer[end:]
        data = client.recv(65536)
        if not data:
            return
        buffer += data


def handshake(client):
    data = b""
    while b"BEGIN\r\n" not in data:
        more = client.recv(65536)
        if not more:
            raise ConnectionError
        data += more
    return data.split(b"BEGIN\r\n", 1)[1]


def slowly(client, data):
    """Sends one byte every 2 s: each arrives in time, the whole never does."""
    for byte in data:
        client.sendall(bytes([byte]))
        time.sleep(2)


def serve(client):
    if MODE == "silent":
        time.sleep(3600)
    if MODE == "endless-line":
        while True:
            client.sendall(b"x" * 65536)
    rest = handshake(client)
    if MODE == "descriptor":
        attached, kept = unread_socket()
        socket.send_fds(client, [b"OK 0123456789abcdef0123456789abcdef\r\n"], [attached.fileno()])
        attached.close()
        time.sleep(3600)
    if MODE == "slow-handshake":
        slowly(client, b"OK 0123456789abcdef0123456789abcdef\r\n")
    if MODE == "line-feed":
        client.sendall(b"\n")
        return
    client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
    flooding = False
    for serial, member, body in calls(client, rest):
        if MODE == "announces" and member != "Hello":
            # the start of a message, of which the rest never comes
            client.sendall(message(4, [field(1, "o", "/"), field(2, "s", "a.b"), field(3, "s", "C")], length=127 << 20))
            client.sendall(b"\0" * 64)
            time.sleep(3600)
        answers = {
            "Hello": (text(":1.5"), "s"),
            "GetNameOwner": (text(":1.0"), "s"),
            "GetConnectionUnixUser": (struct.pack("<I", os.getuid()), "u"),
            "ListUnits": (b"\0" * 8, "a(ssssssouso)"),
            "ListUnitsByPatterns": (b"\0" * 8, "a(ssssssouso)"),
            "ListJobs": (b"\0" * 8, "a(usssoo)"),
        }
        answer, signature = answers.get(member, (b"", ""))
        if MODE == "large-signals" and member == "GetNameOwner":
            # no reply, but signals that the client has to hold or drop
            big = signal("UnitNew", "s", text("x" * 1_000_000))
            while True:
                client.sendall(big)
        sender = ":1.0" if member not in answers or member.startswith("List") else "org.freedesktop.DBus"
        if MODE == "silent-manager" and sender == ":1.0":
            continue
        if MODE == "slow-replies" and member != "Hello":
            slowly(client, reply(serial, answer, signature, sender))
        client.sendall(reply(serial, answer, signature, sender))
        if MODE == "many-units" and member == "Subscribe" and not flooding:
            flooding = True
            threading.Thread(target=load_units, args=(client,), daemon=True).start()


def load_units(client):
    path = "/org/freedesktop/systemd1/unit/x"
    for number in range(2_000_000):
        name = text(f"{'n' * 200}{number}.service")
        client.sendall(signal("UnitNew", "so", name + padding(name, 4) + text(path)))


def attempt(client):
    try:
        serve(client)
    except OSError:
        pass
    client.close()


listener = socket.socket(socket.AF_UNIX)
if os.path.lexists(PATH):
    os.unlink(PATH)
listener.bind(PATH)
listener.listen()
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
notify.send(b"READY=1")
while True:
    client, _ = listener.accept()
    print("connected", flush=True)
    threading.Thread(target=attempt, args=(client,), daemon=True).start()
