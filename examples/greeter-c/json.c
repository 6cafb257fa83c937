#include "json.h"

#include <stdint.h>
#include <string.h>

typedef struct {
    const char *at;
    const char *end;
} input_t;

typedef struct {
    char *bytes;
    size_t length;
    size_t max;
    bool too_long;
} text_t;

static void skip_spaces(input_t *in) {
    while (in->at < in->end && strchr(" \t\r\n", *in->at) != NULL && *in->at != '\0') {
        in->at++;
    }
}

// Steps over one character after spaces, if it is there.
static bool take(input_t *in, char expected) {
    skip_spaces(in);
    if (in->at < in->end && *in->at == expected) {
        in->at++;
        return true;
    }
    return false;
}

static void put(text_t *out, char byte) {
    if (out->length == out->max) {
        out->too_long = true;
    } else {
        out->bytes[out->length++] = byte;
    }
}

static void put_code_point(text_t *out, uint32_t point) {
    if (point < 0x80) {
        put(out, (char)point);
        return;
    }
    int rest = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint8_t first[] = {0, 0xc0, 0xe0, 0xf0};
    put(out, (char)(first[rest] | point >> 6 * rest));
    while (rest-- > 0) {
        put(out, (char)(0x80 | (point >> 6 * rest & 0x3f)));
    }
}

static bool read_hex(input_t *in, uint32_t *value) {
    *value = 0;
    for (int digit = 0; digit < 4; digit++) {
        static const char digits[] = "0123456789abcdef";
        if (in->at == in->end || *in->at == '\0') {
            return false;
        }
        char letter = *in->at++;
        const char *found = strchr(digits, letter >= 'A' && letter <= 'F' ? letter + 32 : letter);
        if (found == NULL) {
            return false;
        }
        *value = *value << 4 | (uint32_t)(found - digits);
    }
    return true;
}

static bool read_unicode_escape(input_t *in, text_t *out) {
    uint32_t point, low;
    if (!read_hex(in, &point) || (point >= 0xdc00 && point <= 0xdfff)) {
        return false;
    }
    if (point >= 0xd800 && point <= 0xdbff) {
        if (in->end - in->at < 2 || in->at[0] != '\\' || in->at[1] != 'u') {
            return false;
        }
        in->at += 2;
        if (!read_hex(in, &low) || low < 0xdc00 || low > 0xdfff) {
            return false;
        }
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    put_code_point(out, point);
    return true;
}

static bool read_escape(input_t *in, text_t *out) {
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    if (in->at == in->end || *in->at == '\0') {
        return false;
    }
    char letter = *in->at++;
    if (letter == 'u') {
        return read_unicode_escape(in, out);
    }
    const char *found = strchr(letters, letter);
    if (found == NULL) {
        return false;
    }
    put(out, meanings[found - letters]);
    return true;
}

static bool read_string(input_t *in, text_t *out) {
    if (!take(in, '"')) {
        return false;
    }
    while (in->at < in->end) {
        char letter = *in->at++;
        if (letter == '"') {
            return true;
        }
        if (letter != '\\') {
            put(out, letter);
        } else if (!read_escape(in, out)) {
            return false;
        }
    }
    return false;
}

bool json_text(const char *json, size_t length, const char *key, char *value, size_t max, size_t *value_length) {
    input_t in = {json, json + length};
    bool found = false;
    if (!take(&in, '{')) {
        return false;
    }
    do {
        char name_bytes[64];
        text_t name = {name_bytes, 0, sizeof name_bytes, false};
        text_t text = {value, 0, max, false};
        if (!read_string(&in, &name) || !take(&in, ':')) {
            return false;
        }
        bool wanted = !found && name.length == strlen(key) && memcmp(name.bytes, key, name.length) == 0;
        // A value of another key is read over, nowhere.
        text.max = wanted ? max : 0;
        if (!read_string(&in, &text) || (wanted && text.too_long)) {
            return false;
        }
        if (wanted) {
            *value_length = text.length;
            found = true;
        }
    } while (take(&in, ','));
    return take(&in, '}') && found;
}

size_t json_quote(const char *text, size_t length, char *quoted) {
    static const char digits[] = "0123456789abcdef";
    char *at = quoted;
    *at++ = '"';
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\') {
            *at++ = '\\';
            *at++ = (char)byte;
        } else if (byte < 0x20) {
            memcpy(at, "\\u00", 4);
            at[4] = digits[byte >> 4];
            at[5] = digits[byte & 15];
            at += 6;
        } else {
            *at++ = (char)byte;
        }
    }
    *at++ = '"';
    return (size_t)(at - quoted);
}

bool is_utf8(const unsigned char *bytes, size_t length) {
    for (size_t i = 0; i < length;) {
        unsigned char first = bytes[i++];
        if (first < 0x80) {
            continue;
        }
        int rest = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || length - i < (size_t)rest) {
            return false;
        }
        // No overlong forms, no surrogates, nothing past U+10FFFF: the second byte tells.
        unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (bytes[i] < least || bytes[i] > most) {
            return false;
        }
        for (i++; --rest > 0; i++) {
            if ((bytes[i] & 0xc0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}
