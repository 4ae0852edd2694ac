/*
 * net/websocket_handshake.c: the HTTP request that asks for WebSocket, and the answer.
 *
 * Runs on: the connection's shard.
 *
 * Source: core-protocol.md section 16.1 (checked on nats-server 2.15.2).
 */
#include <string.h>
#include <strings.h>

#include "core/digest.h"
#include "net/websocket.h"

enum { KEY_BYTES = 16 };

/* What matters of a request. Absent texts have no data. */
struct handshake {
    struct bytes method, path;
    struct bytes host, upgrade, connection, key, version, origin, no_masking;
};

/* An address as origins are compared. */
struct place {
    struct bytes scheme, host, port;
};

static bool parse(struct bytes head, struct handshake *handshake);
static struct bytes take_line(struct bytes *rest);
static struct bytes trimmed(struct bytes text);
static unsigned check(const struct handshake *handshake, const struct options *options);
static bool has_token(struct bytes list, const char *token);
static bool origin_is_allowed(const struct handshake *handshake, const struct options *options);
static struct place place_of(struct bytes url);
static bool places_match(struct place a, struct place b);
static void append_failure(struct text *answer, unsigned status, const char *words);
static void append_success(struct text *answer, const struct handshake *handshake,
                           const struct options *options, bool is_mask_optional);

enum handshake_result handshake_read(struct bytes request, const struct options *options,
                                     struct text *answer, bool *is_mask_optional_out)
{
    struct handshake handshake = {.host = {NULL, 0}};
    const char *end = request.count > 0 ? memmem(request.data, request.count, "\r\n\r\n", 4) : NULL;
    if (end == NULL)
        return HANDSHAKE_NEEDS_MORE;
    size_t head_bytes = (size_t)(end - request.data) + 2;
    unsigned status = 400;
    bool is_good = parse(bytes_of(request.data, head_bytes), &handshake);
    if (is_good && handshake.host.data == NULL) {
        append_failure(answer, 400, "400 Bad Request: missing required Host header");
        return HANDSHAKE_BAD;
    }
    if (is_good)
        status = check(&handshake, options);
    if (status == 101 && request.count > head_bytes + 2)
        status = 400; /* frames before the answer */
    if (status != 101) {
        append_failure(answer, status,
                       status == 403   ? "Forbidden"
                       : status == 404 ? "Not Found"
                       : status == 405 ? "Method Not Allowed"
                                       : "Bad Request");
        return HANDSHAKE_BAD;
    }
    *is_mask_optional_out = bytes_equal(handshake.no_masking, BYTES_LITERAL("true"));
    append_success(answer, &handshake, options, *is_mask_optional_out);
    return HANDSHAKE_GOOD;
}

/* ---- the request ---- */

static bool parse(struct bytes head, struct handshake *handshake)
{
    struct {
        const char *name;
        struct bytes *value;
    } wanted[] = {
        {"host", &handshake->host},
        {"upgrade", &handshake->upgrade},
        {"connection", &handshake->connection},
        {"sec-websocket-key", &handshake->key},
        {"sec-websocket-version", &handshake->version},
        {"origin", &handshake->origin},
        {"nats-no-masking", &handshake->no_masking},
    };
    struct bytes line = take_line(&head);
    const char *blank = line.count > 0 ? memchr(line.data, ' ', line.count) : NULL;
    const char *second = blank != NULL ? memrchr(line.data, ' ', line.count) : NULL;
    if (blank == NULL || second == blank)
        return false;
    handshake->method = bytes_of(line.data, (size_t)(blank - line.data));
    handshake->path = bytes_of(blank + 1, (size_t)(second - blank) - 1);
    if (!bytes_equal(bytes_after(line, (size_t)(second - line.data) + 1),
                     BYTES_LITERAL("HTTP/1.1")))
        return false;
    while (head.count > 0) {
        line = take_line(&head);
        const char *colon = line.count > 0 ? memchr(line.data, ':', line.count) : NULL;
        if (colon == NULL)
            return false;
        struct bytes name = bytes_of(line.data, (size_t)(colon - line.data));
        for (size_t i = 0; i < COUNT_OF(wanted); i++)
            if (name.count == strlen(wanted[i].name) && wanted[i].value->data == NULL
                && strncasecmp(name.data, wanted[i].name, name.count) == 0)
                *wanted[i].value = trimmed(bytes_after(line, name.count + 1));
    }
    return true;
}

/* Without its CR LF. */
static struct bytes take_line(struct bytes *rest)
{
    const char *end = memmem(rest->data, rest->count, "\r\n", 2);
    size_t count = end == NULL ? rest->count : (size_t)(end - rest->data);
    struct bytes line = bytes_of(rest->data, count);
    *rest = bytes_after(*rest, end == NULL ? count : count + 2);
    return line;
}

static struct bytes trimmed(struct bytes text)
{
    while (text.count > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = bytes_after(text, 1);
    while (text.count > 0
           && (text.data[text.count - 1] == ' ' || text.data[text.count - 1] == '\t'))
        text.count--;
    return text;
}

/* The HTTP status; 101 is the good one. */
static unsigned check(const struct handshake *handshake, const struct options *options)
{
    unsigned char key[KEY_BYTES];
    if (bytes_equal(handshake->path, BYTES_LITERAL("/mqtt"))
        || bytes_equal(handshake->path, BYTES_LITERAL("/leafnode")))
        return 404;
    if (!bytes_equal(handshake->method, BYTES_LITERAL("GET")))
        return 405;
    if (!has_token(handshake->upgrade, "websocket") || !has_token(handshake->connection, "upgrade")
        || !digest_decode_base64(handshake->key, key, sizeof(key))
        || !bytes_equal(handshake->version, BYTES_LITERAL("13")))
        return 400;
    return origin_is_allowed(handshake, options) ? 101 : 403;
}

/* In a list with commas, in any letter case. */
static bool has_token(struct bytes list, const char *token)
{
    while (list.count > 0) {
        const char *comma = memchr(list.data, ',', list.count);
        size_t count = comma == NULL ? list.count : (size_t)(comma - list.data);
        struct bytes word = trimmed(bytes_of(list.data, count));
        if (word.count == strlen(token) && strncasecmp(word.data, token, word.count) == 0)
            return true;
        list = bytes_after(list, comma == NULL ? count : count + 1);
    }
    return false;
}

/* ---- origins ---- */

/* Who sends none is no browser: it passes. */
static bool origin_is_allowed(const struct handshake *handshake, const struct options *options)
{
    struct bytes allowed = bytes_of_text(options->websocket_allowed_origins);
    if (handshake->origin.count == 0)
        return true;
    struct place origin = place_of(handshake->origin);
    if (options->websocket_same_origin) {
        struct text url = {0};
        text_append_literal(&url, "http://");
        text_append(&url, handshake->host);
        struct place own = place_of(text_bytes(&url));
        own.scheme = origin.scheme; /* host and port count */
        bool is_same = places_match(origin, own);
        text_free(&url);
        if (!is_same)
            return false;
    }
    if (allowed.count == 0)
        return true;
    while (allowed.count > 0) {
        const char *end = memchr(allowed.data, '\n', allowed.count);
        size_t count = end == NULL ? allowed.count : (size_t)(end - allowed.data);
        if (places_match(origin, place_of(bytes_of(allowed.data, count))))
            return true;
        allowed = bytes_after(allowed, end == NULL ? count : count + 1);
    }
    return false;
}

static struct place place_of(struct bytes url)
{
    struct place place = {.scheme = {"", 0}, .host = url, .port = {"", 0}};
    const char *slashes = url.count > 0 ? memmem(url.data, url.count, "://", 3) : NULL;
    if (slashes != NULL) {
        place.scheme = bytes_of(url.data, (size_t)(slashes - url.data));
        place.host = bytes_after(url, place.scheme.count + 3);
    }
    const char *slash =
        place.host.count > 0 ? memchr(place.host.data, '/', place.host.count) : NULL;
    if (slash != NULL)
        place.host.count = (size_t)(slash - place.host.data);
    const char *colon =
        place.host.count > 0 ? memrchr(place.host.data, ':', place.host.count) : NULL;
    if (colon != NULL
        && memchr(colon, ']', place.host.count - (size_t)(colon - place.host.data)) == NULL) {
        place.port = bytes_after(place.host, (size_t)(colon - place.host.data) + 1);
        place.host.count = (size_t)(colon - place.host.data);
    }
    if (place.port.count == 0)
        place.port = place.scheme.count == 5 && strncasecmp(place.scheme.data, "https", 5) == 0
                         ? BYTES_LITERAL("443")
                         : BYTES_LITERAL("80");
    return place;
}

static bool is_same_word(struct bytes a, struct bytes b)
{
    return a.count == b.count && (a.count == 0 || strncasecmp(a.data, b.data, a.count) == 0);
}

static bool places_match(struct place a, struct place b)
{
    return is_same_word(a.scheme, b.scheme) && is_same_word(a.host, b.host)
           && bytes_equal(a.port, b.port);
}

/* ---- the answer ---- */

static void append_failure(struct text *answer, unsigned status, const char *words)
{
    bool is_host = words[0] == '4'; /* said before nats-server's own code has a look */
    text_append_format(answer, "HTTP/1.1 %u %s\r\n", status, is_host ? words + 4 : words);
    if (!is_host)
        text_append_literal(answer,
                            "Sec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\n");
    text_append_format(answer,
                       "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
                       "Content-Length: %zu\r\n\r\n%s\n",
                       strlen(words) + 1, words);
}

static void append_success(struct text *answer, const struct handshake *handshake,
                           const struct options *options, bool is_mask_optional)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char digest[DIGEST_SHA1_BYTES];
    struct text key = {0};
    text_append(&key, handshake->key);
    text_append_literal(&key, guid);
    digest_sha1(text_bytes(&key), digest);
    text_free(&key);
    text_append_literal(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\nSec-WebSocket-Accept: ");
    text_append_base64(answer, bytes_of(digest, sizeof(digest)));
    text_append_literal(answer, "\r\n");
    if (is_mask_optional)
        text_append_literal(answer, "Nats-No-Masking: true\r\n");
    struct bytes headers = bytes_of_text(options->websocket_headers); /* name, value, name, … */
    for (bool is_name = true; headers.count > 0 || !is_name; is_name = !is_name) {
        const char *end = headers.count > 0 ? memchr(headers.data, '\n', headers.count) : NULL;
        size_t count = end == NULL ? headers.count : (size_t)(end - headers.data);
        text_append(answer, bytes_of(headers.data, count));
        text_append_literal(answer, is_name ? ": " : "\r\n");
        headers = bytes_after(headers, end == NULL ? count : count + 1);
    }
    text_append_literal(answer, "\r\n");
}
