"""Greets peers: answers a name with a greeting, and the command `greet` asks a peer for one.

`inbound` and `command` are async exports. A result's error case is the exception `Err`, both ways: raising one
with an error of the contract is answering it.
"""

import json

from componentize_py_types import Err
from wit_world import byte_stream, exports
from wit_world.exports import inbound
from wit_world.imports import output, streams
from wit_world.imports.types import Error_Invalid, PathPolicy

PROTOCOL = "/peerup/p/greeter/hello/1.0.0"
# The longest name that is read, in bytes.
MAX_NAME_BYTES = 256
# The longest answer that is read, in bytes: a name, a peer, and the words around them.
MAX_ANSWER_BYTES = 1024


class Inbound(exports.Inbound):
    """Answers one stream."""

    async def handle(self, request: inbound.Request, connection: streams.Duplex) -> None:
        with connection:
            name = await read_text(connection, MAX_NAME_BYTES, "the name")
            if not name:
                raise invalid("no name was sent; send one, then half-close")
            await send_text(connection, f"hello {name}, you are {request.peer.name or request.peer.id}")


class Command(exports.Command):
    """Adds the word `greet`."""

    async def run(self, name: str, arguments: str) -> None:
        if name != "greet":
            raise invalid(f"no command {json.dumps(name)}; there is `greet`")
        peer, greeted = parse_arguments(arguments)
        with await streams.open(peer, PROTOCOL, PathPolicy.PREFER_DIRECT) as connection:
            await send_text(connection, greeted)
            answer = await read_text(connection, MAX_ANSWER_BYTES, "the answer")
        await output.emit(output.Event(answer, json.dumps({"peer": peer, "answer": answer})))


async def read_text(connection: streams.Duplex, maximum: int, what: str) -> str:
    """Reads up to the other side's half-close; raises for more than `maximum` bytes and for what is not UTF-8."""
    incoming, end = connection.receive()
    data = b""
    with incoming:
        while not incoming.writer_dropped:
            data += await incoming.read(maximum + 1 - len(data))
            if len(data) > maximum:
                raise invalid(f"{what} is longer than {maximum} bytes")
    check(await end.read())
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise invalid(f"{what} is not UTF-8") from None


async def send_text(connection: streams.Duplex, text: str) -> None:
    """Sends a text, half-closes, and waits until the last byte was handed to the transport."""
    writer, reader = byte_stream()
    sent = connection.send(reader)
    with writer:
        await writer.write_all(text.encode())
    check(await sent.read())


def check(outcome: object) -> None:
    """Raises what a future of the contract says went wrong."""
    if isinstance(outcome, Err):
        raise outcome


def parse_arguments(text: str) -> tuple[str, str]:
    """Reads `{"peer": ..., "name": ...}`."""
    try:
        arguments = json.loads(text)
        peer, name = arguments["peer"], arguments["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise invalid(f'bad arguments: {error!r}; give {{"peer": ..., "name": ...}}') from None
    if not isinstance(peer, str) or not isinstance(name, str):
        raise invalid("bad arguments: peer and name are texts")
    return peer, name


def invalid(text: str) -> Err:
    """The contract's error for something that makes no sense."""
    return Err(Error_Invalid(text))
