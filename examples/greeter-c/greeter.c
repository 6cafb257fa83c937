// Greets peers: answers a name with a greeting, and the command `greet` asks a peer for one.
//
// `inbound` and `command` are async exports. Each runs on a stack of its own that can wait, so the code reads
// from top to bottom: what would be a callback is `wait_for`.

#include "greeter.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

#define PROTOCOL "/peerup/p/greeter/hello/1.0.0"
// The longest name that is read, in bytes.
#define MAX_NAME_BYTES 256
// The longest answer that is read, in bytes: a name, a peer, and the words around them.
#define MAX_ANSWER_BYTES 1024
// The longest name of a peer that is taken from the arguments.
#define MAX_PEER_BYTES 256

typedef peerup_plugin_types_error_t plugin_error_t;
typedef peerup_plugin_streams_result_void_error_t end_t;
typedef peerup_plugin_streams_borrow_duplex_t duplex_t;

// Bytes and how many of them there are.
typedef struct {
    char bytes[MAX_ANSWER_BYTES + 1];
    size_t length;
} text_t;

static void append(text_t *text, const char *bytes, size_t length) {
    size_t room = sizeof text->bytes - text->length;
    if (length > room) {
        length = room;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static bool invalid(plugin_error_t *error, const char *first, const char *second) {
    text_t text = {.length = 0};
    append(&text, first, strlen(first));
    append(&text, second, strlen(second));
    error->tag = PEERUP_PLUGIN_TYPES_ERROR_INVALID;
    greeter_string_dup_n(&error->val.invalid, text.bytes, text.length);
    return false;
}

// Waits until something happens to a stream, a future or a subtask, and returns what it was.
static uint32_t wait_for(uint32_t waitable) {
    greeter_waitable_set_t set = greeter_waitable_set_new();
    greeter_event_t event;
    greeter_waitable_join(waitable, set);
    greeter_waitable_set_wait(set, &event);
    greeter_waitable_join(waitable, 0);
    greeter_waitable_set_drop(set);
    return event.code;
}

static greeter_waitable_status_t settle(uint32_t waitable, greeter_waitable_status_t status) {
    return status == GREETER_WAITABLE_STATUS_BLOCKED ? wait_for(waitable) : status;
}

// Waits for an imported function.
static void finish(greeter_subtask_status_t status) {
    greeter_subtask_t subtask = GREETER_SUBTASK_HANDLE(status);
    uint32_t state = GREETER_SUBTASK_STATE(status);
    while (state < GREETER_SUBTASK_RETURNED) {
        state = wait_for(subtask);
    }
    if (subtask != 0) {
        greeter_subtask_drop(subtask);
    }
}

// Waits for what the host says of the end of a direction.
static bool end_of(peerup_plugin_streams_future_result_void_error_t future, plugin_error_t *error) {
    end_t end;
    settle(future, peerup_plugin_streams_future_result_void_error_read(future, &end));
    peerup_plugin_streams_future_result_void_error_drop_readable(future);
    if (end.is_err) {
        *error = end.val.err;
    }
    return !end.is_err;
}

// Reads up to the other side's half-close; fails for more than `max` bytes and for what is not UTF-8.
static bool read_text(duplex_t connection, size_t max, const char *what, text_t *text, plugin_error_t *error) {
    peerup_plugin_streams_tuple2_stream_u8_future_result_void_error_t incoming;
    peerup_plugin_streams_method_duplex_receive(connection, &incoming);
    text->length = 0;
    bool ended = false;
    while (!ended && text->length <= max) {
        uint8_t *free_bytes = (uint8_t *)text->bytes + text->length;
        greeter_waitable_status_t status = settle(
            incoming.f0, peerup_plugin_streams_stream_u8_read(incoming.f0, free_bytes, max + 1 - text->length));
        text->length += GREETER_WAITABLE_COUNT(status);
        ended = GREETER_WAITABLE_STATE(status) == GREETER_WAITABLE_DROPPED;
    }
    peerup_plugin_streams_stream_u8_drop_readable(incoming.f0);
    if (text->length > max) {
        peerup_plugin_streams_future_result_void_error_drop_readable(incoming.f1);
        return invalid(error, what, max == MAX_NAME_BYTES ? " is longer than 256 bytes" : " is longer than 1024 bytes");
    }
    if (!end_of(incoming.f1, error)) {
        return false;
    }
    return is_utf8((const unsigned char *)text->bytes, text->length) || invalid(error, what, " is not UTF-8");
}

// Sends a text, half-closes, and waits until the last byte was handed to the transport.
static bool send_text(duplex_t connection, const text_t *text, plugin_error_t *error) {
    peerup_plugin_streams_stream_u8_writer_t writer;
    peerup_plugin_streams_stream_u8_t reader = peerup_plugin_streams_stream_u8_new(&writer);
    peerup_plugin_streams_future_result_void_error_t sent = peerup_plugin_streams_method_duplex_send(connection, reader);
    size_t written = 0;
    bool taken = true;
    while (taken && written < text->length) {
        const uint8_t *rest = (const uint8_t *)text->bytes + written;
        greeter_waitable_status_t status =
            settle(writer, peerup_plugin_streams_stream_u8_write(writer, rest, text->length - written));
        written += GREETER_WAITABLE_COUNT(status);
        taken = GREETER_WAITABLE_STATE(status) != GREETER_WAITABLE_DROPPED;
    }
    peerup_plugin_streams_stream_u8_drop_writable(writer);
    return end_of(sent, error);
}

static bool handle(exports_peerup_plugin_inbound_request_t *request, duplex_t connection, plugin_error_t *error) {
    text_t name;
    if (!read_text(connection, MAX_NAME_BYTES, "the name", &name, error)) {
        return false;
    }
    if (name.length == 0) {
        return invalid(error, "no name was sent; send one, then half-close", "");
    }
    greeter_string_t peer = request->peer.name.is_some ? request->peer.name.val : request->peer.id;
    text_t answer = {.length = 0};
    append(&answer, "hello ", 6);
    append(&answer, name.bytes, name.length);
    append(&answer, ", you are ", 10);
    append(&answer, (const char *)peer.ptr, peer.len);
    return send_text(connection, &answer, error);
}

static greeter_string_t borrowed(const char *bytes, size_t length) {
    return (greeter_string_t){(uint8_t *)bytes, length};
}

static bool emit(const text_t *peer, const text_t *answer, plugin_error_t *error) {
    static char json[6 * (MAX_PEER_BYTES + MAX_ANSWER_BYTES) + 64];
    char *at = json;
    memcpy(at, "{\"peer\":", 8);
    at += 8;
    at += json_quote(peer->bytes, peer->length, at);
    memcpy(at, ",\"answer\":", 10);
    at += 10;
    at += json_quote(answer->bytes, answer->length, at);
    *at++ = '}';
    peerup_plugin_output_event_t event = {
        borrowed(answer->bytes, answer->length),
        borrowed(json, (size_t)(at - json)),
    };
    peerup_plugin_output_result_void_error_t result;
    finish(peerup_plugin_output_emit(event, &result));
    if (result.is_err) {
        *error = result.val.err;
    }
    return !result.is_err;
}

static bool ask(duplex_t connection, const text_t *peer, const text_t *name, plugin_error_t *error) {
    text_t answer;
    return send_text(connection, name, error)
        && read_text(connection, MAX_ANSWER_BYTES, "the answer", &answer, error)
        && emit(peer, &answer, error);
}

static bool greet(greeter_string_t arguments, plugin_error_t *error) {
    const char *json = (const char *)arguments.ptr;
    text_t peer, name;
    if (!json_text(json, arguments.len, "peer", peer.bytes, MAX_PEER_BYTES, &peer.length)
        || !json_text(json, arguments.len, "name", name.bytes, MAX_ANSWER_BYTES, &name.length)) {
        return invalid(error, "bad arguments: give {\"peer\": ..., \"name\": ...}, both texts", "");
    }
    peerup_plugin_streams_open_args_t args = {
        borrowed(peer.bytes, peer.length),
        borrowed(PROTOCOL, strlen(PROTOCOL)),
        PEERUP_PLUGIN_TYPES_PATH_POLICY_PREFER_DIRECT,
    };
    peerup_plugin_streams_result_own_duplex_error_t opened;
    finish(peerup_plugin_streams_open(&args, &opened));
    if (opened.is_err) {
        *error = opened.val.err;
        return false;
    }
    bool asked = ask(peerup_plugin_streams_borrow_duplex(opened.val.ok), &peer, &name, error);
    peerup_plugin_streams_duplex_drop_own(opened.val.ok);
    return asked;
}

greeter_callback_code_t exports_peerup_plugin_inbound_handle(
    exports_peerup_plugin_inbound_request_t *request, exports_peerup_plugin_inbound_own_duplex_t connection) {
    exports_peerup_plugin_inbound_result_void_error_t result = {.is_err = false};
    result.is_err = !handle(request, peerup_plugin_streams_borrow_duplex(connection), &result.val.err);
    peerup_plugin_streams_duplex_drop_own(connection);
    exports_peerup_plugin_inbound_request_free(request);
    exports_peerup_plugin_inbound_handle_return(result);
    return GREETER_CALLBACK_CODE_EXIT;
}

greeter_callback_code_t exports_peerup_plugin_command_run(greeter_string_t *name, greeter_string_t *arguments) {
    exports_peerup_plugin_command_result_void_error_t result = {.is_err = false};
    if (name->len == 5 && memcmp(name->ptr, "greet", 5) == 0) {
        result.is_err = !greet(*arguments, &result.val.err);
    } else {
        result.is_err = !invalid(&result.val.err, "no such command; there is `greet`", "");
    }
    greeter_string_free(name);
    greeter_string_free(arguments);
    exports_peerup_plugin_command_run_return(result);
    return GREETER_CALLBACK_CODE_EXIT;
}

// Neither export ever returns to be called back.
greeter_callback_code_t exports_peerup_plugin_inbound_handle_callback(greeter_event_t *event) {
    (void)event;
    abort();
}

greeter_callback_code_t exports_peerup_plugin_command_run_callback(greeter_event_t *event) {
    (void)event;
    abort();
}
