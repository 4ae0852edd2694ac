/*
 * net/signal_command.h: --signal <what>[=<pid>]: a word to a server that runs.
 */
#ifndef NET_SIGNAL_COMMAND_H
#define NET_SIGNAL_COMMAND_H

#include "core/options.h"

/* Sends what options->signal asks for; mistakes go to standard error. The exit code. */
int signal_command(const struct options *options);

#endif
