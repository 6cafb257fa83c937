"""Both ends of the connections that the lab sends through a tunnel.

Servers (they print `listening` once bound, and one line for each fact that a case waits for):
    echo PORT          gives back what comes, until the other side ends
    count-then-reply PORT   reads to the end, then answers with length and SHA-256
    reply-first PORT   sends 1 MiB, half-closes, then reads to the end and prints length and SHA-256
Clients:
    hold HOST PORT     says hello to an echo server, prints `open`; sends each input line and prints the
                       echo; prints `closed SECONDS` when the other side ends
    upload HOST PORT BYTES      the other end of count-then-reply
    late-upload HOST PORT BYTES the other end of reply-first
"""

import hashlib
import socket
import sys
import threading
import time

PATTERN = bytes(range(256)) * 256


def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def read_all(connection):
    digest, length = hashlib.sha256(), 0
    while block := connection.recv(65536):
        digest.update(block)
        length += len(block)
    return f"{length} {digest.hexdigest()}"


def send_pattern(connection, length):
    digest, left = hashlib.sha256(), length
    while left:
        block = PATTERN[: min(left, len(PATTERN))]
        connection.sendall(block)
        digest.update(block)
        left -= len(block)
    connection.shutdown(socket.SHUT_WR)
    return f"{length} {digest.hexdigest()}"


def echo(connection):
    while block := connection.recv(65536):
        connection.sendall(block)


def count_then_reply(connection):
    connection.sendall(read_all(connection).encode() + b"\n")


def reply_first(connection):
    send_pattern(connection, 1 << 20)
    say("received", read_all(connection))


def serve(port, handle):
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        say("listening")
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=guarded, args=(connection, handle), daemon=True).start()


def guarded(connection, handle):
    with connection:
        try:
            handle(connection)
        except OSError as error:
            say("ended", error)


def hold(address):
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(b"hello\n")
        if connection.recv(6) != b"hello\n":
            sys.exit("no echo")
        connection.settimeout(None)
        start = time.monotonic()
        say("open")
        threading.Thread(target=forward_input, args=(connection,), daemon=True).start()
        try:
            while block := connection.recv(65536):
                say("echo", block.decode().strip())
        except OSError:
            pass
        say("closed", f"{time.monotonic() - start:.2f}")


def forward_input(connection):
    for line in sys.stdin:
        connection.sendall(line.encode())


def upload(address, length):
    with socket.create_connection(address, timeout=60) as connection:
        sent = send_pattern(connection, length)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()
        say("sent", sent)
        if answer != sent:
            sys.exit(f"sent {sent}, the answer is {answer!r}")


def late_upload(address, length):
    with socket.create_connection(address, timeout=60) as connection:
        say("received", read_all(connection))
        say("sent", send_pattern(connection, length))
        if connection.recv(1):
            sys.exit("bytes after the end")


def main():
    role, *rest = sys.argv[1:]
    servers = {"echo": echo, "count-then-reply": count_then_reply, "reply-first": reply_first}
    if role in servers:
        return serve(int(rest[0]), servers[role])
    address = (rest[0], int(rest[1]))
    if role == "hold":
        return hold(address)
    return {"upload": upload, "late-upload": late_upload}[role](address, int(rest[2]))


if __name__ == "__main__":
    main()
