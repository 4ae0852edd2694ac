/*
 * net/signal_command.c: --signal stop|quit|term|reopen|reload|ldm[=<pid>]: a word to a server that runs.
 *
 * The process is named by its id, by a pid file, by the first digits of ids and a `*`, or, without any, by the program's own
 * name, when only one of that name runs.
 *
 * Runs on: the main thread of a process that is no server.
 *
 * Source: server-interface.md section 7.2.
 */
#include "net/signal_command.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/text.h"

enum { PIDS_MAX = 1024, COMM_BYTES = 16 };

static int number_of(struct bytes what);
static struct text pid_text_of(struct bytes pid);
static size_t find_pids(const char *program, pid_t *pids);
static bool has_name(const char *pid, const char *name);
static bool send_all(struct bytes what, const pid_t *pids, size_t count, struct bytes digits,
                     bool is_glob, struct text *why);

int signal_command(const struct options *options)
{
    struct bytes what = bytes_of_text(options->signal);
    struct bytes pid = {"", 0};
    const char *equals = strchr(options->signal, '=');
    struct text why = {0};
    pid_t pids[PIDS_MAX] = {0};
    size_t count = 1;
    uint64_t number = 0;
    if (equals != NULL) {
        pid = bytes_after(what, (size_t)(equals - options->signal) + 1);
        what.count = (size_t)(equals - options->signal);
    }
    struct text digits_text = pid_text_of(pid);
    struct bytes digits = text_bytes(&digits_text);
    bool is_glob = digits.count > 0 && digits.data[digits.count - 1] == '*';
    digits.count -= is_glob ? 1 : 0;

    if (digits.count > 0 && (!text_parse_u64(digits, &number) || number > INT32_MAX)) {
        text_append_format(&why, "invalid pid: %.*s", (int)digits.count, digits.data);
    } else {
        pids[0] = (pid_t)number;
        if (digits.count == 0 || is_glob)
            count = find_pids(options->program, pids);
        if (count > 1 && !is_glob) {
            text_append_format(&why, "multiple %s processes running:", options->program);
            for (size_t i = 0; i < count; i++)
                text_append_format(&why, "\n%d", (int)pids[i]);
        } else if (count == 0) {
            text_append_format(&why, "no %s processes running", options->program);
        } else if (number_of(what) == 0) {
            text_append_format(&why, "unknown signal \"%.*s\"", (int)what.count, what.data);
        } else {
            (void)send_all(what, pids, count, digits, is_glob, &why);
        }
    }
    int exit_code = why.count > 0 ? 1 : 0;
    if (why.count > 0)
        fprintf(stderr, "%s: %.*s\n", options->program, (int)why.count, why.data);
    text_free(&why);
    text_free(&digits_text);
    return exit_code;
}

static int number_of(struct bytes what)
{
    static const struct {
        const char *word;
        int number;
    } commands[] = {{"stop", SIGKILL},   {"quit", SIGINT},   {"term", SIGTERM},
                    {"reopen", SIGUSR1}, {"reload", SIGHUP}, {"ldm", SIGUSR2}};
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (bytes_equal(what, bytes_of_text(commands[i].word)))
            return commands[i].number;
    return 0;
}

/* What the pid file of that name says, if there is one. */
static struct text pid_text_of(struct bytes pid)
{
    struct text text = {0};
    char read[32];
    text_append(&text, pid);
    text_append(&text, bytes_of("", 1));
    FILE *file = pid.count > 0 ? fopen(text.data, "re") : NULL;
    text.count--;
    if (file == NULL)
        return text;
    size_t count = fread(read, 1, sizeof(read), file);
    (void)fclose(file); /* it was only read */
    while (count > 0 && (read[count - 1] == '\n' || read[count - 1] == ' '))
        count--;
    text_clear(&text);
    text_append(&text, bytes_of(read, count));
    return text;
}

/* Other processes that were started under this name. */
static size_t find_pids(const char *program, pid_t *pids)
{
    char name[COMM_BYTES];
    size_t count = 0;
    DIR *directory = opendir("/proc");
    (void)snprintf(name, sizeof(name), "%.15s", program); /* the kernel cuts it there, too */
    if (directory == NULL)
        return 0;
    for (struct dirent *entry; count < PIDS_MAX && (entry = readdir(directory)) != NULL;) {
        uint64_t pid;
        if (!text_parse_u64(bytes_of_text(entry->d_name), &pid) || (pid_t)pid == getpid())
            continue;
        if (has_name(entry->d_name, name))
            pids[count++] = (pid_t)pid;
    }
    (void)closedir(directory); /* it was only read */
    return count;
}

static bool has_name(const char *pid, const char *name)
{
    char path[300];
    char comm[COMM_BYTES + 1] = "";
    (void)snprintf(path, sizeof(path), "/proc/%s/comm", pid); /* it has the room */
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false; /* it has ended meanwhile */
    size_t count = fread(comm, 1, COMM_BYTES, file);
    (void)fclose(file); /* it was only read */
    if (count > 0 && comm[count - 1] == '\n')
        comm[count - 1] = '\0';
    return strcmp(comm, name) == 0;
}

static bool send_all(struct bytes what, const pid_t *pids, size_t count, struct bytes digits,
                     bool is_glob, struct text *why)
{
    for (size_t i = 0; i < count; i++) {
        char text[16];
        char words[128];
        int written = snprintf(text, sizeof(text), "%d", (int)pids[i]);
        struct bytes pid = bytes_of(text, (size_t)written);
        if (is_glob && !bytes_start_with(pid, digits))
            continue;
        if (pids[i] > 0 && kill(pids[i], number_of(what)) == 0)
            continue;
        (void)snprintf(words, sizeof(words), "%s", strerrordesc_np(pids[i] > 0 ? errno : ESRCH));
        words[0] = (char)(words[0] | 0x20);
        text_append_format(why, "\nsignal \"%.*s\" %d: %s", (int)what.count, what.data,
                           (int)pids[i], words);
    }
    return why->count == 0;
}
