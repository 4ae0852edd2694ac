/*
 * tests/core/diag_test.c: the line format that tools parse, files, and lines of several threads.
 */
#include "core/diag.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

static void make_path(void);
static void remove_path(void);
static void open_with(struct diag_options options);
static char *read_all(void);
static void expect_match(const char *text, const char *pattern);

TestSuite(diag, .init = make_path, .fini = remove_path);

Test(diag, writes_lines_as_nats_server_does)
{
    open_with((struct diag_options){0});
    diag_info("Listening for client connections on %s:%d", "127.0.0.1", 4222);
    diag_warn("w");
    diag_error("e");
    diag_line(DIAG_FATAL, "f");
    char *text = read_all();
    expect_match(text,
                 "^\\[[0-9]+\\] [0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6} "
                 "\\[INF\\] Listening for client connections on 127\\.0\\.0\\.1:4222\n"
                 "\\[[0-9]+\\] [^[]+ \\[WRN\\] w\n\\[[0-9]+\\] [^[]+ \\[ERR\\] e\n"
                 "\\[[0-9]+\\] [^[]+ \\[FTL\\] f\n$");
    char pid[16];
    (void)snprintf(pid, sizeof(pid), "[%d] ", (int)getpid());
    cr_expect(eq(int, strncmp(text, pid, strlen(pid)), 0));
    free(text);
}

Test(diag, leaves_the_time_out)
{
    open_with((struct diag_options){.without_time = true});
    diag_info("x");
    char *text = read_all();
    expect_match(text, "^\\[[0-9]+\\] \\[INF\\] x\n$");
    free(text);
}

Test(diag, knows_utc)
{
    setenv("TZ", "XXX-5", 1);
    open_with((struct diag_options){.utc = true});
    time_t now = time(NULL);
    diag_info("x");
    char *text = read_all();
    struct tm date;
    char near[32];
    int hits = 0;
    for (time_t at = now; at <= now + 1; at++) {
        (void)strftime(near, sizeof(near), "%Y/%m/%d %H:%M:%S", gmtime_r(&at, &date));
        hits += strstr(text, near) != NULL;
    }
    cr_expect(eq(int, hits, 1), "%s", text);
    free(text);
}

Test(diag, writes_debug_and_trace_only_when_asked)
{
    open_with((struct diag_options){0});
    diag_debug("d");
    diag_line(DIAG_TRACE, "t");
    cr_expect(not(diag_is_on(DIAG_DEBUG)));
    cr_expect(not(diag_is_on(DIAG_TRACE)));
    cr_expect(diag_is_on(DIAG_INFO));
    open_with((struct diag_options){.debug = true, .trace = true, .without_time = true});
    diag_debug("d");
    diag_line(DIAG_TRACE, "t");
    char *text = read_all();
    expect_match(text, "^\\[[0-9]+\\] \\[DBG\\] d\n\\[[0-9]+\\] \\[TRC\\] t\n$");
    free(text);
}

Test(diag, cuts_long_lines_and_masks_control_characters)
{
    open_with((struct diag_options){.without_time = true});
    diag_info("%s", "a\nb\rc\x1b\td");
    diag_info("%0100000d", 1);
    char *text = read_all();
    expect_match(text, "^\\[[0-9]+\\] \\[INF\\] a\\?b\\?c\\?\td\n");
    char *second = strchr(text, '\n') + 1;
    size_t count = strlen(second);
    cr_expect(count > 4000 && count < 10000 && second[count - 1] == '\n');
    free(text);
}

Test(diag, appends_reopens_and_limits_access)
{
    umask(0);
    open_with((struct diag_options){.without_time = true});
    diag_info("one");
    char moved[80];
    (void)snprintf(moved, sizeof(moved), "%s.old", path);
    cr_assert(eq(int, rename(path, moved), 0));
    diag_info("two");
    open_with((struct diag_options){.without_time = true});
    diag_info("three");
    char *text = read_all();
    expect_match(text, "^\\[[0-9]+\\] \\[INF\\] three\n$");
    free(text);
    struct stat info;
    cr_assert(eq(int, stat(path, &info), 0));
    cr_expect(eq(int, info.st_mode & 0777, 0640));
    cr_assert(eq(int, rename(moved, path), 0));
    text = read_all();
    expect_match(text, "one\n.*two\n$");
    free(text);
}

Test(diag, says_when_a_file_cannot_be_opened)
{
    struct diag_options options = {.file = "/nonexistent/log"};
    cr_expect(eq(int, diag_open(&options), STATUS_NOT_FOUND));
}

static void *write_many(void *name)
{
    for (int i = 0; i < 2000; i++)
        diag_info("thread=%s line=%d padding=%0200d", (const char *)name, i, 0);
    return NULL;
}

Test(diag, keeps_lines_of_several_threads_whole)
{
    open_with((struct diag_options){.without_time = true});
    pthread_t threads[2];
    cr_assert(eq(int, pthread_create(&threads[0], NULL, write_many, "a"), 0));
    cr_assert(eq(int, pthread_create(&threads[1], NULL, write_many, "b"), 0));
    for (int i = 0; i < 50; i++) /* reopening under their hands loses nothing */
        open_with((struct diag_options){.without_time = true});
    for (int i = 0; i < 2; i++)
        cr_assert(eq(int, pthread_join(threads[i], NULL), 0));

    char *text = read_all();
    int counts[2] = {0};
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char name;
        int number, end = 0;
        cr_assert(
            eq(int,
               sscanf(line, "[%*d] [INF] thread=%c line=%d padding=%*[0]%n", &name, &number, &end),
               2),
            "%s", line);
        cr_assert(eq(chr, line[end], '\0'));
        cr_assert(eq(int, counts[name - 'a']++, number));
    }
    cr_expect(eq(int, counts[0], 2000));
    cr_expect(eq(int, counts[1], 2000));
    free(text);
}

static void make_path(void)
{
    (void)snprintf(path, sizeof(path), "/tmp/pail_diag_test_%d", (int)getpid());
    (void)unlink(path);
}

static void remove_path(void)
{
    (void)unlink(path);
}

static void open_with(struct diag_options options)
{
    options.file = path;
    cr_assert(eq(int, diag_open(&options), STATUS_OK));
}

static char *read_all(void)
{
    static char buffer[4 << 20];
    FILE *file = fopen(path, "r");
    cr_assert(ne(ptr, file, NULL));
    size_t count = fread(buffer, 1, sizeof(buffer) - 1, file);
    buffer[count] = '\0';
    fclose(file);
    return strdup(buffer);
}

static void expect_match(const char *text, const char *pattern)
{
    regex_t regex;
    cr_assert(eq(int, regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0));
    cr_expect(eq(int, regexec(&regex, text, 0, NULL, 0), 0), "%s", text);
    regfree(&regex);
}
