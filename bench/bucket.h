/*
 * bench/bucket.h: making and removing the bucket that is measured.
 */
#ifndef BENCH_BUCKET_H
#define BENCH_BUCKET_H

struct options;
struct session;

/* Both exit with the server's words on stderr if it refuses. No bucket to delete is no failure. */
void bucket_delete(struct session *session, const struct options *options);
void bucket_create(struct session *session, const struct options *options);

#endif
