// As much JSON as a plugin's arguments and events need.

#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

// Finds a key of a JSON object whose values are texts and copies its value to `value`, unescaped and without a
// terminating null. Returns false where the object is none, has another kind of value, or lacks the key, and
// where the value is longer than `max` bytes.
bool json_text(const char *json, size_t length, const char *key, char *value, size_t max, size_t *value_length);

// Writes a text as a JSON string, quotes included. Returns how many bytes that took, at most 6 for each of the
// text and 2 more.
size_t json_quote(const char *text, size_t length, char *quoted);

// Whether these bytes are UTF-8.
bool is_utf8(const unsigned char *bytes, size_t length);

#endif
