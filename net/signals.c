/*
 * net/signals.c: what the main thread does while the shards run: it waits for signals, and for shard 0's word that lame duck
 * mode has ended.
 *
 *     INT, TERM (not in lame duck mode) ──► the end      HUP ──► net/reload.c      USR1 ──► the log file again
 *     USR2 ──► net/lame_duck.c, on shard 0 ──► "done" ──► the end
 *
 * Keeps:   a signal reaches the shards as one byte on a socket pair, for its number is all there is to say.
 * Runs on: the main thread.
 *
 * Source: server-interface.md section 7.
 */
#include "net/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/diag.h"
#include "net/reload.h"

const int server_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, 0};

static const char *words_of(int number);
static void reopen_log(const struct options *options);

void signals_block(void)
{
    sigset_t signals;
    (void)sigemptyset(&signals); /* these cannot fail on a valid set */
    for (const int *signal = server_signals; *signal != 0; signal++)
        (void)sigaddset(&signals, *signal);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGALRM, SIG_IGN);
}

void signals_tell_shards(struct server *server, enum control what)
{
    char byte = (char)what;
    ssize_t count = write(server->control_sockets[1], &byte, 1);
    ASSERT(count == 1); /* a byte always finds room in an empty socket */
}

/* The next signal's number; 0 when shard 0 said that lame duck mode is over. */
static int wait_for_signal(struct server *server, int signal_file)
{
    struct pollfd files[] = {
        {.fd = signal_file, .events = POLLIN},
        {.fd = server->control_sockets[1], .events = POLLIN},
    };
    for (;;) {
        struct signalfd_siginfo info;
        char byte;
        if (poll(files, COUNT_OF(files), -1) < 0)
            continue; /* interrupted by a signal that is not ours */
        if ((files[0].revents & POLLIN) != 0
            && read(signal_file, &info, sizeof(info)) == (ssize_t)sizeof(info))
            return (int)info.ssi_signo;
        if (files[1].revents != 0 && read(server->control_sockets[1], &byte, 1) == 1)
            return 0;
    }
}

void signals_wait_for_end(struct server *server, struct options *current)
{
    sigset_t signals;
    bool is_lame_duck = false;
    (void)sigemptyset(&signals);
    for (const int *signal = server_signals; *signal != 0; signal++)
        (void)sigaddset(&signals, *signal);
    int signal_file = signalfd(-1, &signals, SFD_CLOEXEC);
    ASSERT(signal_file >= 0); /* one of the first descriptors of the process */
    signals_tell_shards(server, CONTROL_STARTED);
    for (bool is_ended = false; !is_ended;) {
        int number = wait_for_signal(server, signal_file);
        if (number != 0)
            diag_info("Trapped \"%s\" signal", words_of(number));
        switch (number) {
        case SIGTERM:
            is_ended = !is_lame_duck;
            break;
        case SIGHUP:
            reload_read(server, current);
            break;
        case SIGUSR1:
            reopen_log(current);
            break;
        case SIGUSR2:
            is_lame_duck = true;
            signals_tell_shards(server, CONTROL_LAME_DUCK);
            break;
        default: /* SIGINT, or lame duck mode is over */
            is_ended = true;
        }
    }
    (void)close(signal_file);
    diag_info("Initiating Shutdown...");
    signals_tell_shards(server, CONTROL_STOP);
}

static const char *words_of(int number)
{
    switch (number) {
    case SIGINT:
        return "interrupt";
    case SIGTERM:
        return "terminated";
    case SIGHUP:
        return "hangup";
    case SIGUSR1:
        return "user defined signal 1";
    default:
        return "user defined signal 2";
    }
}

static void reopen_log(const struct options *options)
{
    if (options->log_file[0] == '\0') {
        diag_info("File log re-open ignored, not a file logger");
        return;
    }
    if (reload_open_diag(options) == STATUS_OK)
        diag_info("File log re-opened");
    else
        diag_error("log_reopen_failed file=%s", options->log_file);
}
