/*
 * net/files.h: the files that tell other programs about this one: its process id, its ports.
 */
#ifndef NET_FILES_H
#define NET_FILES_H

#include <stdbool.h>

#include "net/server.h"

/* False: it was asked for and cannot be written; errno tells why. */
bool pid_file_write(const struct options *options);
/* When all listeners are open. A failure is said by diag, and that is all. */
void ports_file_write(const struct server *server);
void ports_file_remove(const struct options *options);

#endif
