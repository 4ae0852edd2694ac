/*
 * core/mailbox.h: messages between shards. One SPSC ck_ring for each ordered pair of shards carries envelopes; an
 * envelope holds the many messages one turn sent to one shard.
 *
 * Keeps:   messages of one pair arrive in the order sent, exactly once; what was written before mailbox_send is
 *          visible to the handler. A message becomes visible at the end of the sender's turn (shard.h, step 5), all
 *          messages of one pair of a turn at once.
 * Owns:    envelopes; they go back to their producer through a second ring, so each pool is touched by one thread.
 * Wakes:   a sleeping receiver by io_doorbell, an awake one not at all.
 *
 * A message is a handler and a payload copied into the envelope (8-byte aligned, borrowed until the handler returns).
 * The handler runs on the receiver, in step 2 of its turn. Sending to oneself is allowed and runs in the next turn.
 * If a ring is full the envelopes queue at the sender, in order: nothing is lost, and who produces much watches
 * mailbox_backlog_bytes.
 */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shard;
struct heap;

/* payload: bytes at an 8-byte boundary; from: index of the sender. */
typedef void mailbox_handler_fn(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

/*
 * Room for `bytes` of payload (0 to 128 MiB) to be filled in before this turn ends; what is larger than an envelope
 * travels in one of its own.
 */
void *mailbox_reserve(struct shard *shard, uint32_t to, mailbox_handler_fn *handler,
                      uint32_t bytes);
void mailbox_send(struct shard *shard, uint32_t to, mailbox_handler_fn *handler,
                  const void *payload, uint32_t bytes);

/* Bytes sent to `to` that wait here because the ring is full. */
uint64_t mailbox_backlog_bytes(const struct shard *shard, uint32_t to);

/*
 * Runs the handlers of everything that had been published to this shard when the call began. The turn does this with a
 * budget; kv calls it once more where the order protocol asks for "mailboxes drained" (design section 3).
 */
void mailbox_drain(struct shard *shard);

/* ---- for core/shard.c ---- */

struct mailbox;      /* one shard's end of all lanes */
struct mailbox_post; /* opaque: the lanes between all shards of a group */

struct mailbox_post *mailbox_post_create(struct heap *heap, uint32_t shard_count);
/* Frees the lanes and what lies in them; its handlers do not run. No mailbox may be left. */
void mailbox_post_destroy(struct mailbox_post *post);

struct mailbox *mailbox_create(struct heap *heap, struct mailbox_post *post, uint32_t shard_index);
void mailbox_destroy(struct mailbox *mailbox);

/* Runs the handlers of at most some hundred messages of each sender. */
void mailbox_run(struct shard *shard);
/* Makes what was sent visible, and wakes who sleeps. */
void mailbox_publish(struct shard *shard);
/* Something waits to be received or published. */
bool mailbox_has_work(const struct shard *shard);
/* Declares that the shard goes to sleep; false, and not declared, if there is work after all. */
bool mailbox_sleep_begin(struct shard *shard);
void mailbox_sleep_end(struct shard *shard);

#endif
