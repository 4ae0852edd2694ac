/*
 * tests/core/options_test.c: the command line in every form that nats-server takes, its answers and exit codes, and the
 * range of each row.
 */
#include "core/options.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

enum { WORDS_MAX = 32 };

/* One run of the parser. */
struct run {
    struct options options;
    struct options_output output;
    enum options_next next;
    char line[512];
};

static void run(struct run *run, const char *line);
static void end(struct run *run);
static bool text_has(const struct text *text, const char *part);

Test(options, has_the_defaults_of_nats_server_and_jetstream_on)
{
    static struct run r;
    run(&r, "pail");
    const struct options *o = &r.options;
    cr_expect(eq(int, r.next, OPTIONS_START));
    cr_expect(eq(str, (char *)o->host, "0.0.0.0"));
    cr_expect(eq(int, o->port, 4222));
    cr_expect(o->jetstream);
    cr_expect(o->logtime);
    cr_expect(eq(str, (char *)o->store_dir, "./pail-data"));
    cr_expect(eq(u64, o->payload_bytes_max, 1 << 20));
    cr_expect(eq(u64, o->control_line_bytes_max, 4096));
    cr_expect(eq(u64, o->pending_bytes_max, 64 << 20));
    cr_expect(eq(u32, o->conn_count_max, 65536));
    cr_expect(eq(u64, o->ping_interval_ns, 120000000000));
    cr_expect(eq(u32, o->ping_count_max, 2));
    cr_expect(eq(u64, o->write_deadline_ns, 10000000000));
    cr_expect(eq(u64, o->sync_interval_ns, 0));
    cr_expect(eq(u64, o->segment_bytes, 64 << 20));
    cr_expect(eq(u32, o->shard_count, 0));
    for (size_t i = 0; option_at(i) != NULL; i++)
        cr_expect(not(option_is_set(o, option_at(i))), "%s", option_at(i)->name);
    end(&r);
}

Test(options, takes_every_form_of_a_flag)
{
    static const struct {
        const char *line;
        int port;
        bool jetstream, debug;
    } rows[] = {
        {"pail -p 1", 1, true, false},           {"pail -p=1", 1, true, false},
        {"pail --p 1", 1, true, false},          {"pail --port=1", 1, true, false},
        {"pail -port 1", 1, true, false},        {"pail -p 1 -p 2", 2, true, false},
        {"pail -p -1", -1, true, false},         {"pail -js", 4222, true, false},
        {"pail -js=false", 4222, false, false},  {"pail --jetstream=F", 4222, false, false},
        {"pail -js=0 -js=1", 4222, true, false}, {"pail -D", 4222, true, true},
        {"pail --debug=TRUE", 4222, true, true}, {"pail -D -D=f", 4222, true, false},
        {"pail -DV", 4222, true, true},          {"pail -DV -D=false", 4222, true, false},
        {"pail -p 3 --", 3, true, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static struct run r;
        run(&r, rows[i].line);
        cr_expect(eq(int, r.next, OPTIONS_START), "%s", rows[i].line);
        cr_expect(eq(int, r.options.port, rows[i].port), "%s", rows[i].line);
        cr_expect(eq(int, r.options.jetstream, rows[i].jetstream), "%s", rows[i].line);
        cr_expect(eq(int, r.options.debug, rows[i].debug), "%s", rows[i].line);
        cr_expect(eq(sz, r.output.err.count, 0), "%s", rows[i].line);
        end(&r);
    }
}

Test(options, takes_all_its_flags)
{
    static struct run r;
    run(&r, "/usr/bin/nats-server -a ::1 --name n -c f.conf -P p -sd d -l log --ports_file_dir q "
            "-m 8222 "
            "-V");
    const struct options *o = &r.options;
    cr_expect(eq(int, r.next, OPTIONS_START));
    cr_expect(eq(str, (char *)o->program, "nats-server"));
    cr_expect(eq(str, (char *)o->host, "::1"));
    cr_expect(eq(str, (char *)o->server_name, "n"));
    cr_expect(eq(str, (char *)o->config_file, "f.conf"));
    cr_expect(eq(str, (char *)o->pid_file, "p"));
    cr_expect(eq(str, (char *)o->store_dir, "d"));
    cr_expect(eq(str, (char *)o->log_file, "log"));
    cr_expect(eq(str, (char *)o->ports_file_dir, "q"));
    cr_expect(eq(int, o->http_port, 8222));
    cr_expect(o->trace);
    cr_expect(o->is_set.host && o->is_set.trace && o->is_set.store_dir);
    cr_expect(not(o->is_set.port));
    end(&r);
    run(&r, "pail --net h -T=0 --logtime_utc -t --shards 64 --segment_bytes 1MB --cache_bytes=2gb "
            "--sync 2s");
    cr_expect(eq(int, r.next, OPTIONS_START));
    cr_expect(eq(str, (char *)o->host, "h"));
    cr_expect(not(o->logtime));
    cr_expect(o->logtime_utc && o->is_config_test);
    cr_expect(eq(u32, o->shard_count, 64));
    cr_expect(eq(u64, o->segment_bytes, 1 << 20));
    cr_expect(eq(u64, o->cache_bytes, (uint64_t)2 << 30));
    cr_expect(eq(u64, o->sync_interval_ns, 2000000000));
    end(&r);
    run(&r, "pail --sync 2s --sync=always");
    cr_expect(eq(u64, o->sync_interval_ns, 0));
    end(&r);
}

Test(options, answers_help_and_version)
{
    static const struct {
        const char *line, *part;
    } rows[] = {
        {"pail -v", "pail: v" PAIL_NATS_VERSION " (pail "},
        {"pail --version", " v2."},
        {"pail version", " v2."},
        {"pail VERSION", " v2."},
        {"nats-server -v", "nats-server: v" PAIL_NATS_VERSION},
        {"pail -h", "Usage: pail [options]"},
        {"pail --help", "--store_dir <dir>"},
        {"pail help", "--shards <count>"},
        {"pail -js Help", "-DV "},
        {"pail --tls -h", "Usage:"},
        {"pail -v -h", " v2."},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static struct run r;
        run(&r, rows[i].line);
        cr_expect(eq(int, r.next, OPTIONS_EXIT), "%s", rows[i].line);
        cr_expect(eq(int, r.output.exit_code, 0), "%s", rows[i].line);
        cr_expect(text_has(&r.output.out, rows[i].part), "%s", rows[i].line);
        cr_expect(eq(sz, r.output.err.count, 0), "%s", rows[i].line);
        end(&r);
    }
}

Test(options, tells_mistakes_as_nats_server_does)
{
    static const struct {
        const char *line, *words;
        int exit_code;
        bool has_usage;
    } rows[] = {
        {"pail -x", "flag provided but not defined: -x\n", 0, true},
        {"pail --port", "flag needs an argument: -port\n", 0, true},
        {"pail -p a", "invalid value \"a\" for flag -p: parse error\n", 0, true},
        {"pail -p 4k", "invalid value \"4k\" for flag -p: parse error\n", 0, true},
        {"pail --p=", "invalid value \"\" for flag -p: parse error\n", 0, true},
        {"pail -p 99999999999999999999", "for flag -p: value out of range\n", 0, true},
        {"pail -js=maybe", "invalid boolean value \"maybe\" for -js: parse error\n", 0, true},
        {"pail -v=maybe", "invalid boolean value \"maybe\" for -v: parse error\n", 0, true},
        {"pail ---p 1", "bad flag syntax: ---p\n", 0, true},
        {"pail -=1", "bad flag syntax: -=1\n", 0, true},
        {"pail --shards 0", "for flag -shards: value out of range\n", 0, true},
        {"pail --shards 65", "for flag -shards: value out of range\n", 0, true},
        {"pail --segment_bytes 1kb", "for flag -segment_bytes: value out of range\n", 0, true},
        {"pail --segment_bytes 65MB", "for flag -segment_bytes: value out of range\n", 0, true},
        {"pail --sync never", "for flag -sync: neither a time such as 2s nor \"always\"\n", 0,
         true},
        {"pail --sync 0s", "for flag -sync: value out of range\n", 0, true},
        {"pail -js false", "pail: unrecognized command: \"false\"\n", 1, false},
        {"pail x", "pail: unrecognized command: \"x\"\n", 1, false},
        {"pail -", "pail: unrecognized command: \"-\"\n", 1, false},
        {"pail -- -p", "pail: unrecognized command: \"-p\"\n", 1, false},
        {"pail --tls", "pail: pail does not support --tls yet\n", 1, false},
        {"pail -ms 1 -p 1", "pail: pail does not support -ms yet\n", 1, false},
        {"pail -sl", "flag needs an argument: -sl\n", 0, true},
        {"pail --max_traced_msg_len 1k", "for flag -max_traced_msg_len: parse error\n", 0, true},
        {"pail -ms=1", "pail: pail does not support -ms yet\n", 1, false},
        {"pail --user", "flag needs an argument: -user\n", 0, true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static struct run r;
        run(&r, rows[i].line);
        cr_expect(eq(int, r.next, OPTIONS_EXIT), "%s", rows[i].line);
        cr_expect(eq(int, r.output.exit_code, rows[i].exit_code), "%s", rows[i].line);
        cr_expect(text_has(&r.output.err, rows[i].words), "%s: %.*s", rows[i].line,
                  (int)r.output.err.count, r.output.err.data);
        cr_expect(eq(int, r.output.out.count > 0, rows[i].has_usage), "%s", rows[i].line);
        end(&r);
    }
}

Test(options, reads_integers_with_suffixes)
{
    static const struct {
        const char *text;
        enum options_integer answer;
        int64_t number;
    } rows[] = {
        {"0", OPTIONS_INTEGER_GOOD, 0},
        {"-1", OPTIONS_INTEGER_GOOD, -1},
        {"1k", OPTIONS_INTEGER_GOOD, 1000},
        {"1KB", OPTIONS_INTEGER_GOOD, 1024},
        {"1ki", OPTIONS_INTEGER_GOOD, 1024},
        {"1KiB", OPTIONS_INTEGER_GOOD, 1024},
        {"64MiB", OPTIONS_INTEGER_GOOD, 64 << 20},
        {"-2m", OPTIONS_INTEGER_GOOD, -2000000},
        {"1eb", OPTIONS_INTEGER_GOOD, (int64_t)1 << 60},
        {"9223372036854775807", OPTIONS_INTEGER_GOOD, INT64_MAX},
        {"9223372036854775808", OPTIONS_INTEGER_TOO_LARGE, 0},
        {"10e", OPTIONS_INTEGER_TOO_LARGE, 0},
        {"99999999999999999999", OPTIONS_INTEGER_TOO_LARGE, 0},
        {"", OPTIONS_INTEGER_WRONG, 0},
        {"-", OPTIONS_INTEGER_WRONG, 0},
        {"k", OPTIONS_INTEGER_WRONG, 0},
        {"1b", OPTIONS_INTEGER_WRONG, 0},
        {"1kbb", OPTIONS_INTEGER_WRONG, 0},
        {"1kbi", OPTIONS_INTEGER_WRONG, 0},
        {"1 k", OPTIONS_INTEGER_WRONG, 0},
        {"1.5", OPTIONS_INTEGER_WRONG, 0},
        {"+1", OPTIONS_INTEGER_WRONG, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t number = 0;
        cr_expect(
            eq(int, options_parse_integer(bytes_of_text(rows[i].text), &number), rows[i].answer),
            "%s", rows[i].text);
        cr_expect(eq(i64, number, rows[i].number), "%s", rows[i].text);
    }
}

Test(options, keeps_every_number_in_its_range)
{
    static struct options options;
    options_init(&options);
    const struct option *option;
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        if (option->kind == OPTION_NAME || option->kind == OPTION_PATH
            || option->kind == OPTION_LIST)
            continue;
        cr_expect(eq(ptr, (void *)option_set_number(&options, option, option->least), NULL));
        cr_expect(eq(ptr, (void *)option_set_number(&options, option, option->most), NULL));
        cr_expect(ne(ptr, (void *)option_set_number(&options, option, option->least - 1), NULL),
                  "%s", option->name);
        if (option->most < INT64_MAX)
            cr_expect(ne(ptr, (void *)option_set_number(&options, option, option->most + 1), NULL),
                      "%s", option->name);
    }
}

Test(options, refuses_texts_that_do_not_fit)
{
    static struct options options;
    static char text[OPTIONS_PATH_BYTES];
    options_init(&options);
    memset(text, 'a', sizeof(text));
    const struct option *host = option_by_name("host"), *store = option_by_name("store_dir");
    cr_expect(eq(ptr,
                 (void *)option_set_text(&options, host, bytes_of(text, OPTIONS_NAME_BYTES - 1)),
                 NULL));
    cr_expect(
        ne(ptr, (void *)option_set_text(&options, host, bytes_of(text, OPTIONS_NAME_BYTES)), NULL));
    cr_expect(eq(ptr,
                 (void *)option_set_text(&options, store, bytes_of(text, OPTIONS_PATH_BYTES - 1)),
                 NULL));
    cr_expect(ne(ptr, (void *)option_set_text(&options, store, bytes_of(text, OPTIONS_PATH_BYTES)),
                 NULL));
    cr_expect(ne(ptr, (void *)option_set_text(&options, host, bytes_of("a\0b", 3)), NULL));
}

Test(options, checks_what_only_all_values_tell)
{
    static const struct {
        const char *line, *words; /* NULL: fine */
    } rows[] = {
        {"pail", NULL},
        {"pail -p 65535 -m -1", NULL},
        {"pail -p 65536",
         "Error listening on port: 0.0.0.0:65536, \"listen tcp: address 65536: invalid port\""},
        {"pail -p -2", "invalid port"},
        {"pail -m 70000", "Can't start monitoring"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static struct run r;
        struct text why = {0};
        run(&r, rows[i].line);
        enum status status = options_check(&r.options, &why);
        cr_expect(eq(int, status, rows[i].words == NULL ? STATUS_OK : STATUS_INVALID));
        cr_expect(rows[i].words == NULL || text_has(&why, rows[i].words), "%s", rows[i].line);
        text_free(&why);
        end(&r);
    }
    static struct options options;
    struct text why = {0};
    options_init(&options);
    options.payload_bytes_max = 10485760;
    options.pending_bytes_max = 1048576;
    cr_expect(eq(int, options_check(&options, &why), STATUS_INVALID));
    cr_expect(text_has(&why, "max_payload (10485760) cannot be higher than max_pending (1048576)"));
    text_free(&why);
    cr_expect(options_cache_bytes_default() > 0);
}

static void run(struct run *run, const char *line)
{
    char *words[WORDS_MAX] = {NULL};
    int count = 0;
    *run = (struct run){0};
    (void)snprintf(run->line, sizeof(run->line), "%s", line);
    for (char *word = strtok(run->line, " "); word != NULL; word = strtok(NULL, " "))
        words[count++] = word;
    options_init(&run->options);
    run->next = options_parse(&run->options, count, words, &run->output);
}

static void end(struct run *run)
{
    text_free(&run->output.out);
    text_free(&run->output.err);
}

static bool text_has(const struct text *text, const char *part)
{
    return text->count > 0 && memmem(text->data, text->count, part, strlen(part)) != NULL;
}

Test(options, takes_verbose_flags_and_a_signal)
{
    static struct run r;
    run(&r, "pail -DVV --profile 6060 --max_traced_msg_len 5");
    cr_expect(eq(int, r.next, OPTIONS_START));
    cr_expect(r.options.debug && r.options.trace && r.options.trace_verbose);
    cr_expect(eq(u32, r.options.traced_bytes_max, 5));
    run(&r, "pail --signal quit=77 -p 1");
    cr_expect(eq(int, r.next, OPTIONS_SIGNAL));
    cr_expect(eq(str, r.options.signal, "quit=77"));
}

Test(options, tells_what_a_reload_changes_or_cannot)
{
    static struct options from, to;
    struct text changes = {0};
    struct text why = {0};
    options_init(&from);
    to = from;
    to.debug = true;
    to.payload_bytes_max = 5;
    to.ping_interval_ns = 90000000000;
    to.no_stall = true;
    cr_expect(eq(int, options_diff(&from, &to, &changes, &why), STATUS_OK));
    cr_expect(text_has(&changes,
                       "debug = true\nmax_payload = 5\nfast producers will not be stalled\n"
                       "ping_interval = 1m30s\n"));
    to.port = 4223;
    cr_expect(eq(int, options_diff(&from, &to, &changes, &why), STATUS_INVALID));
    cr_expect(text_has(&why, "config reload not supported for Port: old=4222, new=4223"));
    text_free(&changes);
    text_free(&why);
}
