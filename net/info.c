/*
 * net/info.c: who this server is, as it tells every client first.
 *
 *     INFO ␠ { head … "client_id":5,"client_ip":"127.0.0.1" [,"ldm":true] [,"connect_info":true,"remote_account":"$G"] tail } ␠ CR LF
 *
 * Keeps:   the members' order of the reference; one space behind INFO, one before CR LF (nats.java counts them).
 * Runs on: server_info_init: before the shards; info_send: the connection's shard.
 *
 * Source: core-protocol.md sections 2 and 12.4.
 */
#include <assert.h>

#include "core/auth.h"
#include "core/text.h"
#include "net/dispatch.h"
#include "net/server.h"

enum { NKEY_SERVER = 13 << 3, NKEY_CURVE = 23 << 3, KEY_BYTES = 32 };

/* CRC-16 XMODEM. */
static uint16_t crc16(const unsigned char *data, size_t count)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < count; i++) {
        crc = (uint16_t)(crc ^ data[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

/* A public key as text: base32 of prefix, key and checksum. The key is random: nothing is signed with it yet. */
static void make_key(char *text, unsigned char prefix, struct io *io)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    unsigned char raw[1 + KEY_BYTES + 2] = {prefix};
    for (size_t i = 0; i < KEY_BYTES; i += 8) {
        uint64_t random = io_random(io);
        memcpy(raw + 1 + i, &random, 8);
    }
    uint16_t crc = crc16(raw, 1 + KEY_BYTES);
    raw[1 + KEY_BYTES] = (unsigned char)crc;
    raw[2 + KEY_BYTES] = (unsigned char)(crc >> 8);

    static_assert(sizeof(raw) * 8 == (SERVER_KEY_BYTES - 1) * 5, "no padding is needed");
    for (size_t i = 0; i < SERVER_KEY_BYTES - 1; i++) {
        unsigned value = 0;
        for (size_t bit = i * 5; bit < i * 5 + 5; bit++)
            value = value << 1 | ((unsigned)raw[bit / 8] >> (7 - bit % 8) & 1u);
        text[i] = alphabet[value];
    }
    text[SERVER_KEY_BYTES - 1] = '\0';
}

void server_info_init(struct server *server, struct io *io)
{
    make_key(server->id, NKEY_SERVER, io);
    make_key(server->xkey, NKEY_CURVE, io);
    for (size_t i = 0; i < sizeof(server->reply_secret); i += 8) {
        uint64_t random = io_random(io);
        memcpy(server->reply_secret + i, &random, 8);
    }
    const char *name = server->options->server_name;
    server->name = name[0] != '\0' ? name : server->id;
}

/* Without the client's own members. */
static void prepare_head(struct net *net)
{
    const struct server *server = net->server;
    struct text *head = &net->info_head;
    struct bytes host = bytes_of_text(server->options->host);
    uint64_t port = server->listener.port;
    struct bytes advertised = bytes_of_text(net->limits.client_advertise);
    if (advertised.count > 0) {
        const char *colon = memrchr(advertised.data, ':', advertised.count);
        host = colon == NULL ? advertised
                             : bytes_of(advertised.data, (size_t)(colon - advertised.data));
        if (colon != NULL)
            (void)text_parse_u64(bytes_after(advertised, host.count + 1), &port);
    }
    text_append_format(head, "INFO {\"server_id\":\"%s\",\"server_name\":", server->id);
    text_append_json_string(head, bytes_of_text(server->name));
    text_append_literal(head, ",\"version\":\"" PAIL_NATS_VERSION
                              "\",\"proto\":1,\"go\":\"" PAIL_GO_VERSION "\",\"host\":");
    text_append_json_string(head, host);
    text_append_format(head, ",\"port\":%u,\"headers\":%s", (unsigned)port,
                       server->options->no_header_support ? "false" : "true");
}

static void append_middle(const struct net *net, struct text *text)
{
    text_append_format(text, ",\"max_payload\":%u", net->limits.payload_bytes_max);
    if (net->server->world != NULL)
        text_append_literal(text, ",\"jetstream\":true");
    text_append_literal(text, ",\"client_id\":");
}

void info_send(struct conn *conn, enum info_kind kind)
{
    struct net *net = conn->net;
    struct text text = {.data = NULL};
    if (net->info_head.count == 0)
        prepare_head(net);
    text_append(&text, text_bytes(&net->info_head));
    /* Whoever may come in as no_auth_user is not asked for credentials first. */
    if (net->auth->is_required && (kind != INFO_FIRST || net->auth->no_auth_user == NULL))
        text_append_literal(&text, ",\"auth_required\":true");
    append_middle(net, &text);
    text_append_u64(&text, conn->cid);
    if (conn->ip[0] != '\0')
        text_append_format(&text, ",\"client_ip\":\"%s\"", conn->ip);
    if (net->is_lame_duck)
        text_append_literal(&text, ",\"ldm\":true");
    if (kind == INFO_SECOND) {
        text_append_literal(&text, ",\"connect_info\":true,\"remote_account\":");
        text_append_json_string(&text, account_name(net->server->accounts, conn->account));
        if (conn->account == net->auth->accounts[net->auth->system].id)
            text_append_literal(&text, ",\"acc_is_sys\":true");
    }
    text_append_format(&text, ",\"api_lvl\":%d,\"xkey\":\"%s\"} \r\n", PAIL_API_LEVEL,
                       net->server->xkey);
    conn_say(conn, text_bytes(&text));
    text_free(&text);
}
