/*
 * net/parser.h: the client protocol, cut into operations.
 *
 * Source: core-protocol.md sections 5 and 6.1 (checked on nats-server 2.15.2).
 */
#ifndef NET_PARSER_H
#define NET_PARSER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "core/msg.h"

enum operation_kind {
    OPERATION_CONNECT,
    OPERATION_PUB, /* HPUB too: msg.headers is then not empty */
    OPERATION_SUB,
    OPERATION_UNSUB,
    OPERATION_PING,
    OPERATION_PONG,
    OPERATION_INFO,
    OPERATION_OK,
    OPERATION_ERR,
};

/* One operation. Everything it points to is borrowed until the next call of the parser. */
struct operation {
    enum operation_kind kind;
    struct msg msg;              /* PUB */
    struct bytes headers_digits; /* PUB with headers: the sizes as the client wrote them, */
    struct bytes total_digits;   /* PUB: for they are echoed to the subscribers */
    struct bytes subject;        /* SUB */
    struct bytes queue;          /* SUB; empty: a plain subscription */
    struct bytes sid;            /* SUB, UNSUB */
    uint64_t max;                /* UNSUB; 0: now */
    struct bytes argument;       /* CONNECT, INFO, -ERR */
};

enum parser_result { PARSER_NEEDS_MORE, PARSER_OPERATION, PARSER_FAILED };

/* Why a connection cannot go on; the parser is then of no more use. */
enum parser_failure {
    PARSER_FAILURE_NONE,
    PARSER_FAILURE_OPERATION,    /* 'Unknown Protocol Operation' */
    PARSER_FAILURE_CONTROL_LINE, /* 'maximum control line exceeded' */
    PARSER_FAILURE_PAYLOAD,      /* 'Maximum Payload Violation' */
    PARSER_FAILURE_SYNTAX,       /* closed without a word */
};

/*
 * Keeps: an operation that lies whole in the input is not copied; one that is cut is collected in `carry`, which grows
 *        with what has come, not with what was announced. Between operations there is no carry after parser_rest.
 * Owns:  carry.
 */
struct parser {
    struct heap *heap; /* borrows */
    char *carry;       /* owns; NULL while nothing is cut */
    uint32_t carry_count;
    uint32_t carry_capacity;
    uint32_t carry_wanted; /* the bytes of the whole operation; 0 while its line is not complete */
    uint32_t control_line_bytes_max;
    uint32_t payload_bytes_max;
    bool has_headers;   /* HPUB is allowed */
    bool is_carry_done; /* the last operation lies in carry */
    bool is_repeated;   /* parser_repeat was called on it */
    bool is_skipping;   /* to the end of the line of a PING, PONG or +OK */
    enum operation_kind skipped;
    enum parser_failure failure;
    const char *start; /* of the last operation, if it lies in the input */
};

void parser_init(struct parser *parser, struct heap *heap, uint32_t control_line_bytes_max,
                 uint32_t payload_bytes_max);
void parser_fini(struct parser *parser);

/*
 * Takes the next operation from the front of *input.
 *
 * PARSER_OPERATION   *operation_out is it; call again, *input may hold more
 * PARSER_NEEDS_MORE  *input is used up; what was cut is remembered
 * PARSER_FAILED      parser->failure tells why
 */
enum parser_result parser_next(struct parser *parser, struct bytes *input,
                               struct operation *operation_out);

/* Takes the last operation back: the next call yields it again. *input is what that call left. */
void parser_repeat(struct parser *parser, struct bytes *input);

/* Nothing that was yielded is needed any more: gives back memory if nothing is cut. */
void parser_rest(struct parser *parser);

#endif
