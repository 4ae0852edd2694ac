/*
 * store/recovery.h: the part of recovery that store.c ends.
 */
#ifndef STORE_RECOVERY_H
#define STORE_RECOVERY_H

struct store;

void recovery_fini(struct store *store);

#endif
