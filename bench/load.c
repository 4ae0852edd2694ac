/*
 * bench/load.c: the closed loop of put, get, mixed and cas. See load.h.
 *
 * A slot is one request in flight. Its number is the last token of the reply subject, so an answer
 * finds its slot without a search. Requests of one kind have the same length: a request is a copy of
 * a template with the key's and the slot's digits written over it. Every answer is verified: PubAcks
 * by their sequence, gets by subject, size and the key inside the value.
 *
 * Keeps:   a slot has at most one request in flight; own keys of cas are in flight once.
 * Runs on: the worker's thread.
 */
#include "bench/load.h"

#include "bench/session.h"
#include "bench/wire.h"

#include <stdio.h>
#include <stdlib.h>

enum request_kind { REQUEST_NONE, REQUEST_PUT, REQUEST_GET, REQUEST_UPDATE };

struct slot {
    uint64_t sent_ns;
    uint64_t revision; /* expected, of an update */
    uint32_t key;
    enum request_kind kind;
};

/* A request with holes. */
struct request {
    char *data; /* owns */
    size_t count;
    size_t key_at;
    size_t slot_at;
    size_t value_at;
};

struct client {
    struct link link; /* first: callbacks get its address */
    struct load *load;
    struct slot *slots; /* owns; `depth` of them */
    struct request put;
    struct request get;
    char inbox[INBOX_BYTES + 1];
    uint32_t key_first; /* cas with own keys: slot s has keys key_first + s + n * depth */
    uint32_t key_count; /* for each slot */
    uint32_t in_flight;
};

struct parked {
    struct client *client;
    uint32_t slot;
};

struct load {
    struct worker *worker;
    struct client *clients; /* owns */
    uint32_t client_count;
    uint32_t depth;
    bool stamps;
    uint64_t last_seq;
    struct parked *parked; /* owns; slots that wait while the worker is paused */
    uint32_t parked_count;
    char *value;        /* owns */
    char ack_head[160]; /* what a PubAck begins with */
    size_t ack_head_count;
    char get_head[400]; /* what the headers of a direct get begin with, up to the key's digits */
    size_t get_head_count;
};

static void client_open(struct client *client, struct load *load, uint32_t index);
static void build_put(struct client *client);
static void build_get(struct client *client);
static void client_issue(struct client *client, uint32_t slot_index);
static void choose(struct client *client, uint32_t slot_index);
static void write_request(struct client *client, uint32_t slot_index);
static void write_update(struct client *client, uint32_t slot_index);
static size_t client_on_bytes(struct link *link, char *data, size_t count);
static void client_on_closed(struct link *link, const char *reason);
static void client_on_msg(struct client *client, const struct frame *frame);
static bool on_ack(struct client *client, struct slot *slot, const struct frame *frame);
static bool on_refusal(struct client *client, struct slot *slot, const struct frame *frame);
static void on_value(struct client *client, const struct slot *slot, const struct frame *frame);
static void set_revision(struct worker *worker, uint32_t key, uint64_t revision);

static void workload_open(struct worker *worker)
{
    worker->state = load_open(worker, false);
}

static void workload_start(struct worker *worker)
{
    load_start(worker->state);
}

static bool workload_is_idle(struct worker *worker)
{
    return worker->in_flight == 0;
}

static void workload_close(struct worker *worker)
{
    load_close(worker->state);
}

const struct workload load_workload = {
    .open = workload_open,
    .start = workload_start,
    .is_idle = workload_is_idle,
    .close = workload_close,
};

struct load *load_open(struct worker *worker, bool stamps)
{
    const struct options *options = worker->options;
    struct load *load = allocate(1, sizeof(*load));
    load->worker = worker;
    load->depth = options->depth;
    load->stamps = stamps && options->value_bytes >= STAMP_AT + STAMP_BYTES;
    load->client_count = options->connections / options->threads
                         + (worker->index < options->connections % options->threads ? 1 : 0);
    load->clients = allocate(load->client_count, sizeof(*load->clients));
    load->parked = allocate((size_t)load->client_count * load->depth, sizeof(*load->parked));

    load->value = allocate(options->value_bytes + 1U, 1);
    for (uint32_t index = 0; index < options->value_bytes; index++)
        load->value[index] = (char)('a' + keys_below(&worker->keys, 26));
    if (options->value_bytes > KEY_BYTES)
        load->value[KEY_BYTES] = ' ';
    load->ack_head_count = (size_t)snprintf(load->ack_head, sizeof(load->ack_head),
                                            "{\"stream\":\"KV_%s\",\"seq\":", options->bucket);
    load->get_head_count =
        (size_t)snprintf(load->get_head, sizeof(load->get_head),
                         "NATS/1.0\r\nNats-Stream: KV_%s\r\nNats-Subject: $KV.%s.k",
                         options->bucket, options->bucket);
    for (uint32_t index = 0; index < load->client_count; index++)
        client_open(&load->clients[index], load, index * options->threads + worker->index);
    return load;
}

void load_start(struct load *load)
{
    /* Slot by slot over all connections, so that no connection begins with a full pipeline. */
    for (uint32_t slot = 0; slot < load->depth; slot++)
        for (uint32_t index = 0; index < load->client_count; index++)
            client_issue(&load->clients[index], slot);
}

void load_resume(struct load *load)
{
    uint32_t count = load->parked_count;
    load->parked_count = 0;
    for (uint32_t index = 0; index < count; index++)
        client_issue(load->parked[index].client, load->parked[index].slot);
}

uint64_t load_last_seq(const struct load *load)
{
    return load->last_seq;
}

void load_close(struct load *load)
{
    for (uint32_t index = 0; index < load->client_count; index++) {
        struct client *client = &load->clients[index];
        link_close(&client->link);
        free(client->slots);
        free(client->put.data);
        free(client->get.data);
    }
    free(load->clients);
    free(load->parked);
    free(load->value);
    free(load);
}

static void client_open(struct client *client, struct load *load, uint32_t index)
{
    const struct options *options = load->worker->options;
    struct session session;
    session_open(&session, options);
    memcpy(client->inbox, session.inbox, sizeof(client->inbox));
    client->load = load;
    client->slots = allocate(load->depth, sizeof(*client->slots));
    client->key_count = options->key_count / (options->connections * load->depth);
    client->key_first = index * client->key_count * load->depth;
    build_put(client);
    build_get(client);
    link_open(&client->link, &load->worker->loop, session.socket, session.input + session.input_at,
              session.input_count - session.input_at, client_on_bytes, client_on_closed);
    session.socket = -1;
    session_close(&session);
}

static void build_put(struct client *client)
{
    const struct options *options = client->load->worker->options;
    struct request *put = &client->put;
    size_t size = 256 + sizeof(options->bucket) + options->value_bytes;
    put->data = allocate(size, 1);
    put->key_at = (size_t)snprintf(put->data, size, "PUB $KV.%s.k", options->bucket);
    put->slot_at = put->key_at
                   + (size_t)snprintf(put->data + put->key_at, size - put->key_at, "00000000 %s",
                                      client->inbox);
    put->value_at = put->slot_at
                    + (size_t)snprintf(put->data + put->slot_at, size - put->slot_at, "0000 %u\r\n",
                                       options->value_bytes);
    memcpy(put->data + put->value_at, client->load->value, options->value_bytes);
    put->count = put->value_at + options->value_bytes + 2;
    memcpy(put->data + put->count - 2, "\r\n", 2);
}

static void build_get(struct client *client)
{
    const struct options *options = client->load->worker->options;
    struct request *get = &client->get;
    size_t size = 256 + 2 * sizeof(options->bucket);
    get->data = allocate(size, 1);
    get->key_at = (size_t)snprintf(get->data, size, "PUB $JS.API.DIRECT.GET.KV_%s.$KV.%s.k",
                                   options->bucket, options->bucket);
    get->slot_at = get->key_at
                   + (size_t)snprintf(get->data + get->key_at, size - get->key_at, "00000000 %s",
                                      client->inbox);
    get->count =
        get->slot_at
        + (size_t)snprintf(get->data + get->slot_at, size - get->slot_at, "0000 0\r\n\r\n");
}

static void client_issue(struct client *client, uint32_t slot_index)
{
    struct load *load = client->load;
    struct worker *worker = load->worker;
    if (worker_is_full(worker) || client->link.is_closed)
        return;
    if (worker->is_paused) {
        load->parked[load->parked_count++] = (struct parked){client, slot_index};
        return;
    }
    choose(client, slot_index);
    if (client->slots[slot_index].kind != REQUEST_NONE)
        write_request(client, slot_index);
}

/* What the slot does next; REQUEST_NONE at the end of a sequential run. */
static void choose(struct client *client, uint32_t slot_index)
{
    struct worker *worker = client->load->worker;
    const struct options *options = worker->options;
    struct slot *slot = &client->slots[slot_index];
    switch (options->workload) {
    case WORKLOAD_GET:
        slot->kind = REQUEST_GET;
        break;
    case WORKLOAD_MIXED:
        slot->kind =
            keys_below(&worker->keys, 100) < options->read_percent ? REQUEST_GET : REQUEST_PUT;
        break;
    case WORKLOAD_CAS:
        slot->kind = REQUEST_UPDATE;
        if (options->contended_keys > 0)
            slot->key = keys_below(&worker->keys, options->contended_keys);
        else
            slot->key = client->key_first + slot_index
                        + keys_below(&worker->keys, client->key_count) * client->load->depth;
        return;
    default:
        slot->kind = REQUEST_PUT;
        break;
    }
    if (!options->is_sequential) {
        slot->key = keys_next(&worker->keys);
        return;
    }
    slot->key = worker->next_key;
    if (slot->key >= options->key_count)
        slot->kind = REQUEST_NONE;
    else
        worker->next_key += options->threads;
}

static void write_request(struct client *client, uint32_t slot_index)
{
    struct load *load = client->load;
    struct slot *slot = &client->slots[slot_index];
    slot->sent_ns = load->worker->loop.now_ns;
    client->in_flight++;
    load->worker->in_flight++;
    if (slot->kind == REQUEST_UPDATE) {
        write_update(client, slot_index);
        return;
    }
    const struct request *request = slot->kind == REQUEST_GET ? &client->get : &client->put;
    char *out = link_reserve(&client->link, request->count);
    memcpy(out, request->data, request->count);
    write_digits_8(out + request->key_at, slot->key);
    write_digits_4(out + request->slot_at, slot_index);
    if (slot->kind == REQUEST_PUT && load->worker->options->value_bytes >= KEY_BYTES) {
        out[request->value_at] = 'k';
        memcpy(out + request->value_at + 1, out + request->key_at, KEY_DIGITS);
        if (load->stamps)
            write_hex_16(out + request->value_at + STAMP_AT, slot->sent_ns);
    }
    link_commit(&client->link, request->count);
}

static void write_update(struct client *client, uint32_t slot_index)
{
    static const char header[] = "NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: ";
    struct worker *worker = client->load->worker;
    const struct options *options = worker->options;
    struct slot *slot = &client->slots[slot_index];
    slot->revision = atomic_load_explicit(&worker->run->revisions[slot->key], memory_order_relaxed);
    uint64_t expected = slot->revision == REVISION_UNKNOWN ? 0 : slot->revision;
    char digits[SEQ_DIGITS_MAX];
    size_t digit_count = write_number(digits, expected);
    size_t header_count = sizeof(header) - 1 + digit_count + 4;

    char *out = link_reserve(&client->link, client->put.count + 128 + header_count);
    char *at = out;
    *at++ = 'H';
    size_t line_count = client->put.slot_at + SLOT_DIGITS + 1; /* to the blank after the reply */
    memcpy(at, client->put.data, line_count);
    write_digits_8(at + client->put.key_at, slot->key);
    write_digits_4(at + client->put.slot_at, slot_index);
    const char *key = at + client->put.key_at - 1;
    at += line_count;
    at += write_number(at, header_count);
    *at++ = ' ';
    at += write_number(at, header_count + options->value_bytes);
    memcpy(at, "\r\n", 2);
    at += 2;
    memcpy(at, header, sizeof(header) - 1);
    at += sizeof(header) - 1;
    memcpy(at, digits, digit_count);
    at += digit_count;
    memcpy(at, "\r\n\r\n", 4);
    at += 4;
    memcpy(at, client->load->value, options->value_bytes);
    if (options->value_bytes >= KEY_BYTES)
        memcpy(at, key, KEY_BYTES);
    at += options->value_bytes;
    memcpy(at, "\r\n", 2);
    at += 2;
    link_commit(&client->link, (size_t)(at - out));
}

static size_t client_on_bytes(struct link *link, char *data, size_t count)
{
    struct client *client = (struct client *)link;
    struct worker *worker = client->load->worker;
    size_t used = 0;
    while (used < count) {
        struct frame frame;
        frame_cut(&frame, data + used, count - used);
        if (frame.kind == FRAME_PARTIAL)
            break;
        if (frame.kind == FRAME_MSG) {
            client_on_msg(client, &frame);
        } else if (frame.kind == FRAME_PING) {
            link_write(link, "PONG\r\n", 6);
        } else if (frame.kind == FRAME_ERROR || frame.kind == FRAME_BROKEN) {
            worker_error(worker, "%s: %.*s",
                         frame.kind == FRAME_ERROR ? "server error" : "not NATS",
                         (int)frame.payload.count, frame.payload.data);
            if (frame.kind == FRAME_BROKEN)
                return count;
        }
        used += frame.total_count;
    }
    return used;
}

static void client_on_closed(struct link *link, const char *reason)
{
    struct client *client = (struct client *)link;
    struct worker *worker = client->load->worker;
    worker_error(worker, "connection lost with %u requests in flight: %s", client->in_flight,
                 reason);
    worker->in_flight -= client->in_flight;
    worker->is_broken = true;
    client->in_flight = 0;
}

static void client_on_msg(struct client *client, const struct frame *frame)
{
    struct load *load = client->load;
    struct worker *worker = load->worker;
    uint64_t index;
    size_t digits;
    struct text token = {frame->subject.data + INBOX_BYTES, SLOT_DIGITS};
    if (frame->subject.count != INBOX_BYTES + SLOT_DIGITS
        || memcmp(frame->subject.data, client->inbox, INBOX_BYTES) != 0
        || !read_number(token, &index, &digits) || digits != SLOT_DIGITS || index >= load->depth
        || client->slots[index].kind == REQUEST_NONE) {
        worker_error(worker, "an answer nobody waits for: %.*s", (int)frame->subject.count,
                     frame->subject.data);
        return;
    }
    struct slot *slot = &client->slots[index];
    enum request_kind kind = slot->kind;
    client->in_flight--;
    worker->in_flight--;
    slot->kind = REQUEST_NONE;
    if (kind == REQUEST_GET) {
        on_value(client, slot, frame);
    } else if (!on_ack(client, slot, frame)) {
        if (kind == REQUEST_UPDATE && on_refusal(client, slot, frame)) {
            if (worker_is_full(worker))
                return;
            slot->kind = REQUEST_UPDATE; /* the same key again, with the revision just learnt */
            write_request(client, (uint32_t)index);
            return;
        }
        worker_error(worker, "put of k%08u: %.*s %.*s", slot->key, (int)frame->headers.count,
                     frame->headers.data, (int)frame->payload.count, frame->payload.data);
    }
    worker_count_op(worker, slot->sent_ns);
    client_issue(client, (uint32_t)index);
}

/* True if it is a PubAck with a sequence that can be. */
static bool on_ack(struct client *client, struct slot *slot, const struct frame *frame)
{
    struct load *load = client->load;
    struct worker *worker = load->worker;
    uint64_t seq = 0;
    size_t digits;
    if (text_starts(frame->payload, load->ack_head, load->ack_head_count)) {
        struct text rest = {frame->payload.data + load->ack_head_count,
                            frame->payload.count - load->ack_head_count};
        if (!read_number(rest, &seq, &digits))
            return false;
    } else if (frame->headers.count > 0 || text_contains(frame->payload, "\"error\"")
               || !json_number(frame->payload, "\"seq\"", &seq)) {
        return false;
    }
    if (seq == 0)
        return false;
    if (seq > load->last_seq)
        load->last_seq = seq;
    if (worker->run->revisions != NULL) {
        if (worker->options->workload == WORKLOAD_CAS && !worker->options->is_sequential
            && slot->revision != REVISION_UNKNOWN && seq <= slot->revision)
            worker_error(worker, "k%08u went from revision %llu back to %llu", slot->key,
                         (unsigned long long)slot->revision, (unsigned long long)seq);
        set_revision(worker, slot->key, seq);
    }
    return true;
}

/* True if the update was refused for its revision, and that was to be expected. */
static bool on_refusal(struct client *client, struct slot *slot, const struct frame *frame)
{
    struct worker *worker = client->load->worker;
    uint64_t current;
    if (!text_contains(frame->payload, "\"err_code\":10071")
        || !json_number(frame->payload, "wrong last sequence:", &current))
        return false;
    if (worker->options->contended_keys == 0 && slot->revision != REVISION_UNKNOWN)
        return false;
    if (worker->options->contended_keys > 0 && slot->revision != REVISION_UNKNOWN
        && worker->phase == PHASE_MEASURE)
        worker->tally.conflicts++;
    set_revision(worker, slot->key, current);
    return true;
}

static void on_value(struct client *client, const struct slot *slot, const struct frame *frame)
{
    struct load *load = client->load;
    struct worker *worker = load->worker;
    const struct options *options = worker->options;
    char key[KEY_BYTES + 1] = "k";
    write_digits_8(key + 1, slot->key);
    size_t head = load->get_head_count;
    if (!text_starts(frame->headers, load->get_head, head)
        || frame->headers.count < head + KEY_DIGITS + 2
        || memcmp(frame->headers.data + head, key + 1, KEY_DIGITS) != 0
        || frame->headers.data[head + KEY_DIGITS] != '\r') {
        /* Not what a plain value looks like. The value may have headers of its own. */
        struct text subject = header_find(frame->headers, "Nats-Subject");
        if (header_status(frame->headers) != 0 || subject.count < KEY_BYTES
            || memcmp(subject.data + subject.count - KEY_BYTES, key, KEY_BYTES) != 0) {
            worker_error(worker, "get of %s: %.*s", key, (int)frame->headers.count,
                         frame->headers.data);
            return;
        }
    }
    if (frame->payload.count != options->value_bytes)
        worker_error(worker, "get of %s: %zu bytes instead of %u", key, frame->payload.count,
                     options->value_bytes);
    else if (options->checks_values && options->value_bytes >= KEY_BYTES
             && memcmp(frame->payload.data, key, KEY_BYTES) != 0)
        worker_error(worker, "get of %s: the value is another key's: %.*s", key, KEY_BYTES,
                     frame->payload.data);
}

/* Several connections may know of the same key: the newest wins. */
static void set_revision(struct worker *worker, uint32_t key, uint64_t revision)
{
    atomic_uint_fast64_t *slot = &worker->run->revisions[key];
    uint64_t known = atomic_load_explicit(slot, memory_order_relaxed);
    while ((known == REVISION_UNKNOWN || known < revision)
           && !atomic_compare_exchange_weak_explicit(slot, &known, revision, memory_order_relaxed,
                                                     memory_order_relaxed))
        ;
}
