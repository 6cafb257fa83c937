"""Both ends of the connections that the lab sends through a tunnel.

Servers (they print `listening` once bound, and one line for each fact that a case waits for):
    echo PORT          gives back what comes, until the other side ends
    count-then-reply PORT   reads to the end, then answers with length and SHA-256
    reply-first PORT   sends 1 MiB, half-closes, then reads to the end and prints length and SHA-256
    sequence PORT      gives back numbered blocks, after it has looked at every byte of each
    source PORT        reads a length and sends as many bytes
Clients:
    hold HOST PORT     says hello to an echo server, prints `open`; sends each input line and prints the
                       echo; prints `closed SECONDS` when the other side ends
    upload HOST PORT BYTES      the other end of count-then-reply
    late-upload HOST PORT BYTES the other end of reply-first
    first-byte HOST PORT        prints `first-byte MS`: from the connect to the first byte that came back
    persist HOST PORT SECONDS   opens a connection every 250 ms until a byte came back on one of them; prints
                                `first-byte MS` since the first connect, and `by NUMBER`: which one it was
    sequence HOST PORT          sends a numbered block every 50 ms and looks at every byte of the answers;
                                prints `open MS` at the first; when its input ends, `whole BLOCKS GAP_MS`
                                with the longest time between two answers; `ended after BLOCKS WHY` before
    download HOST PORT BYTES    the other end of source; prints `received BYTES` or `broken BYTES WHY`
    hold-many HOST PORT COUNT   opens connections to an echo server until COUNT are open, says
                                `open COUNT`, and holds them until its input ends
    churn SEED                  reads `to HOST PORT` or `pause` from its input; opens, uses and closes
                                connections to an echo server there, and prints `failed BEGUN ENDED WHY`
                                (Unix times) for each that fails and `done COUNT ROUNDS` twice a second: connections, and
                                answers on all of them
"""

import hashlib
import random
import socket
import struct
import sys
import threading
import time

PATTERN = bytes(range(256)) * 256
BLOCK = 512
INTERVAL = 0.05
# An answer that takes longer than this never comes.
PATIENCE = 60
WORKERS = 3


def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def read_all(connection):
    digest, length = hashlib.sha256(), 0
    while part := connection.recv(65536):
        digest.update(part)
        length += len(part)
    return f"{length} {digest.hexdigest()}"


def send_pattern(connection, length):
    digest, left = hashlib.sha256(), length
    while left:
        part = PATTERN[: min(left, len(PATTERN))]
        connection.sendall(part)
        digest.update(part)
        left -= len(part)
    connection.shutdown(socket.SHUT_WR)
    return f"{length} {digest.hexdigest()}"


def echo(connection):
    while part := connection.recv(65536):
        connection.sendall(part)


def count_then_reply(connection):
    connection.sendall(read_all(connection).encode() + b"\n")


def reply_first(connection):
    send_pattern(connection, 1 << 20)
    say("received", read_all(connection))


def block(number):
    return struct.pack(">Q", number) * (BLOCK // 8)


def read_block(connection, length=BLOCK):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            return data
        data += part
    return data


def answer_sequence(connection):
    number = 0
    while data := read_block(connection):
        if data != block(number):
            return say("corrupt block", number, data[:16].hex())
        connection.sendall(data)
        number += 1


def source(connection):
    length = struct.unpack(">Q", read_block(connection, 8))[0]
    send_pattern(connection, length)


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
            while part := connection.recv(65536):
                say("echo", part.decode().strip())
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


def milliseconds(since):
    return f"{(time.monotonic() - since) * 1000:.1f}"


def first_byte(address):
    start = time.monotonic()
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(b"?")
        if connection.recv(1) != b"?":
            sys.exit("ended without a byte")
        say("first-byte", milliseconds(start))


def persist(address, seconds):
    start, answered, lock = time.monotonic(), threading.Event(), threading.Lock()

    def attempt(number):
        try:
            with socket.create_connection(address, timeout=PATIENCE) as connection:
                connection.sendall(b"?")
                if connection.recv(1) == b"?":
                    with lock:
                        if not answered.is_set():
                            say("first-byte", milliseconds(start))
                            say("by", number)
                            answered.set()
        except OSError:
            pass

    number = 0
    while not answered.is_set() and time.monotonic() < start + seconds:
        number += 1
        threading.Thread(target=attempt, args=(number,), daemon=True).start()
        answered.wait(0.25)
    if not answered.is_set():
        sys.exit(f"no byte came back on {number} connections")


def send_sequence(address):
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    number, longest, start = 0, 0.0, time.monotonic()
    try:
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            while not stop.is_set():
                sent = time.monotonic()
                connection.sendall(block(number))
                data = read_block(connection)
                if data != block(number):
                    raise OSError("end of stream" if len(data) < BLOCK else "another block came back")
                if number == 0:
                    say("open", milliseconds(start))
                longest = max(longest, time.monotonic() - sent)
                number += 1
                stop.wait(INTERVAL)
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1):
                raise OSError("bytes after the end")
    except OSError as error:
        say("ended after", number, error)
        sys.exit(1)
    say("whole", number, f"{longest * 1000:.0f}")


def download(address, length):
    received, why = 0, "it ended early"
    expected = 0
    try:
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(struct.pack(">Q", length))
            while part := connection.recv(65536):
                wanted = PATTERN[expected : expected + len(part)]
                wanted += PATTERN[: len(part) - len(wanted)]
                if part != wanted:
                    sys.exit(f"a wrong byte within 64 KiB of {received}")
                expected = (expected + len(part)) % len(PATTERN)
                received += len(part)
    except OSError as error:
        why = error
    if received != length:
        say("broken", received, why)
        sys.exit(1)
    say("received", received)


def hold_many(address, count):
    held = []
    for _ in range(count):
        connection = socket.create_connection(address, timeout=PATIENCE)
        connection.sendall(b"?")
        if connection.recv(1) != b"?":
            sys.exit(f"the connection after {len(held)} others has no echo")
        held.append(connection)
    say("open", len(held))
    sys.stdin.read()


class Churn:
    """A few workers that open, use and close connections to wherever they are sent."""

    def __init__(self, seed):
        self.address, self.done, self.rounds, self.lock = None, 0, 0, threading.Lock()
        for number in range(WORKERS):
            chance = random.Random(f"{seed}-{number}")
            threading.Thread(target=self.work, args=(chance,), daemon=True).start()

    def work(self, chance):
        while True:
            time.sleep(chance.uniform(0.1, 0.5))
            if address := self.address:
                start = time.time()
                try:
                    # One in twenty is held open through whatever comes.
                    self.use(address, chance, chance.uniform(5, 15) if chance.random() < 0.05 else 0)
                except OSError as error:
                    # It was sent elsewhere meanwhile, or told to pause: no failure of the tunnel.
                    if self.address == address:
                        say("failed", f"{start:.2f}", f"{time.time():.2f}", error)
                else:
                    with self.lock:
                        self.done += 1

    def use(self, address, chance, hold):
        payload = chance.randbytes(chance.randrange(1, 40000))
        with socket.create_connection(address, timeout=10) as connection:
            until = time.monotonic() + hold
            while True:
                connection.sendall(payload)
                if read_block(connection, len(payload)) != payload:
                    raise OSError("ended early, or another byte came back")
                with self.lock:
                    self.rounds += 1
                if time.monotonic() >= until:
                    break
                time.sleep(0.2)
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1):
                raise OSError("bytes after the end")


def churn(seed):
    work = Churn(seed)
    threading.Thread(target=report, args=(work,), daemon=True).start()
    for line in sys.stdin:
        match line.split():
            case ["to", host, port]:
                work.address = (host, int(port))
            case _:
                work.address = None


def report(work):
    while True:
        time.sleep(0.5)
        say("done", work.done, work.rounds)


def main():
    role, *rest = sys.argv[1:]
    servers = {
        "echo": echo,
        "count-then-reply": count_then_reply,
        "reply-first": reply_first,
        "sequence": answer_sequence,
        "source": source,
    }
    if role == "churn":
        return churn(rest[0])
    if role in servers and len(rest) == 1:
        return serve(int(rest[0]), servers[role])
    address = (rest[0], int(rest[1]))
    plain = {"hold": hold, "first-byte": first_byte, "sequence": send_sequence}
    if role in plain:
        return plain[role](address)
    counted = {
        "upload": upload,
        "late-upload": late_upload,
        "download": download,
        "hold-many": hold_many,
        "persist": persist,
    }
    return counted[role](address, int(rest[2]))


if __name__ == "__main__":
    try:
        main()
    except OSError as problem:
        sys.exit(str(problem))
