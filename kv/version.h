/*
 * kv/version.h: what kv tells clients about the level it is compatible with.
 */
#ifndef KV_VERSION_H
#define KV_VERSION_H

#ifdef PAIL_NATS_VERSION
#define KV_NATS_VERSION PAIL_NATS_VERSION
#else
#define KV_NATS_VERSION "2.15.2"
#endif

/* JetStream API level announced (jetstream-streams.md section 1.8). */
#define KV_API_LEVEL 1

#endif
