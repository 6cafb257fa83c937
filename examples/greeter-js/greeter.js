// Greets peers: answers a name with a greeting, and the command `greet` asks a peer for one.
//
// `inbound` and `command` are async exports. The toolchain gives a result's error case as an exception, both
// ways: throwing one of the contract's errors is answering it.

import streams from "peerup:plugin/streams@0.1.1";
import output from "peerup:plugin/output@0.1.1";

const PROTOCOL = "/peerup/p/greeter/hello/1.0.0";
/** The longest name that is read, in bytes. */
const MAX_NAME_BYTES = 256;
/** The longest answer that is read, in bytes: a name, a peer, and the words around them. */
const MAX_ANSWER_BYTES = 1024;

export const inbound = {
    async handle(request, connection) {
        const name = await readText(connection, MAX_NAME_BYTES, "the name");
        if (name === "") {
            throw invalid("no name was sent; send one, then half-close");
        }
        const { peer } = request;
        await sendText(connection, `hello ${name}, you are ${peer.name ?? peer.id}`);
    },
};

export const command = {
    async run(name, argumentsJson) {
        if (name !== "greet") {
            throw invalid(`no command ${JSON.stringify(name)}; there is \`greet\``);
        }
        const { peer, name: greeted } = parseArguments(argumentsJson);
        const connection = await streams.open(peer, PROTOCOL, "prefer-direct");
        await sendText(connection, greeted);
        const answer = await readText(connection, MAX_ANSWER_BYTES, "the answer");
        await output.emit({ text: answer, json: JSON.stringify({ peer, answer }) });
    },
};

/** Reads up to the other side's half-close; throws for more than `max` bytes and for what is not UTF-8. */
async function readText(connection, max, what) {
    const [incoming, end] = connection.receive();
    const bytes = [];
    for await (const chunk of incoming) {
        if (bytes.length + chunk.length > max) {
            throw invalid(`${what} is longer than ${max} bytes`);
        }
        bytes.push(...chunk);
    }
    check(await end.read());
    try {
        return decodeUtf8(bytes);
    } catch (error) {
        throw error instanceof URIError ? invalid(`${what} is not UTF-8`) : error;
    }
}

/** Sends a text, half-closes, and waits until the last byte was handed to the transport. */
async function sendText(connection, text) {
    const { readable, writable } = wit.Stream(wit.Stream.U8);
    const sent = connection.send(readable);
    await writable.writeAll(encodeUtf8(text));
    writable.drop();
    check(await sent.read());
}

// QuickJS has no TextDecoder and no TextEncoder; what percent-encodes is UTF-8 and strict, too.

function decodeUtf8(bytes) {
    return decodeURIComponent(bytes.map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""));
}

function encodeUtf8(text) {
    const bytes = encodeURIComponent(text.toWellFormed()).matchAll(/%(..)|(.)/g);
    return Uint8Array.from(bytes, ([, hex, letter]) => (hex ? parseInt(hex, 16) : letter.charCodeAt(0)));
}

/** Throws what a future of the contract says went wrong. */
function check(outcome) {
    if (outcome.tag === "err") {
        throw outcome.val;
    }
}

function parseArguments(json) {
    let parsed;
    try {
        parsed = JSON.parse(json);
    } catch (error) {
        throw invalid(`bad arguments: ${error.message}`);
    }
    for (const key of ["peer", "name"]) {
        if (typeof parsed?.[key] !== "string") {
            throw invalid(`bad arguments: ${key} is missing or not a text; give {"peer": ..., "name": ...}`);
        }
    }
    return parsed;
}

function invalid(text) {
    return { tag: "invalid", val: text };
}
