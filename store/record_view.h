/*
 * store/record_view.h: looking at encoded records whose checksum is known to be right, or is about to be checked.
 */
#ifndef STORE_RECORD_VIEW_H
#define STORE_RECORD_VIEW_H

#include "store/record.h"

/* The views of a record that record_encode wrote or record_decode accepted; nothing is checked again. */
void record_view(const void *data, struct record *record_out);
/* What the length field says; 16 readable bytes suffice. Not to be believed before record_decode. */
uint32_t record_view_bytes(const void *data);
uint32_t record_view_crc(const void *data);

#endif
