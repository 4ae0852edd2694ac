/*
 * tests/core/config_test.c: the configuration language and its messages against nats-server 2.15.2, what the keys do to
 * the options, and a reader that survives whatever it reads.
 */
#include "core/auth.h"
#include "core/config.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/limits.h"

/* One file applied to fresh options. */
struct loaded {
    struct options options;
    struct text errors, warnings;
    enum status status;
};

static void load(struct loaded *loaded, const char *source);
static void end(struct loaded *loaded);
static void write_file(const char *name, const char *source);
static struct config *parse(const char *source);
static const struct config_value *value_of(struct config *config, const char *key);
static void enter_folder(void);
static void leave_folder(void);

static char folder[64];

Test(config, reads_every_kind_of_value)
{
    struct config *config =
        parse("s: \"a\\tb\\x41\"\nr 'c\\n'\nw = a:b/c-$d>*\"e\ni: -5\nk: 64MiB\nf: 1.5\n"
              "b: YES; d: 2006-01-02T15:04:05Z, ip: 127.0.0.1:-1\nm { x: 1 }\n"
              "l: [1,\"two\"\n three ]\nblock: (\n one )\n two\n)\nnull: null\n");
    static const struct {
        const char *key;
        enum config_type type;
        const char *text;
    } rows[] = {
        {"s", CONFIG_STRING, "a\tbA"},
        {"R", CONFIG_STRING, "c\\n"},
        {"w", CONFIG_STRING, "a:b/c-$d>*\"e"},
        {"ip", CONFIG_STRING, "127.0.0.1:-1"},
        {"d", CONFIG_DATE, "2006-01-02T15:04:05Z"},
        {"block", CONFIG_STRING, "\n one )\n two\n"},
        {"null", CONFIG_STRING, "null"},
        {"i", CONFIG_INTEGER, NULL},
        {"f", CONFIG_FLOAT, NULL},
        {"b", CONFIG_BOOL, NULL},
        {"m", CONFIG_MAP, NULL},
        {"l", CONFIG_ARRAY, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct config_value *value = value_of(config, rows[i].key);
        cr_assert(ne(ptr, (void *)value, NULL), "%s", rows[i].key);
        cr_expect(eq(int, value->type, rows[i].type), "%s", rows[i].key);
        if (rows[i].text != NULL)
            cr_expect(eq(str, (char *)value->text.data, (char *)rows[i].text), "%s", rows[i].key);
    }
    cr_expect(eq(i64, value_of(config, "i")->integer, -5));
    cr_expect(eq(i64, value_of(config, "k")->integer, 64 << 20));
    cr_expect(eq(dbl, value_of(config, "f")->number, 1.5));
    cr_expect(value_of(config, "b")->truth);
    cr_expect(eq(i64, config_member(value_of(config, "m"), "X")->integer, 1));
    const struct config_value *element = value_of(config, "l")->first;
    cr_expect(eq(i64, element->integer, 1));
    cr_expect(eq(str, (char *)element->next->text.data, "two"));
    cr_expect(eq(str, (char *)element->next->next->text.data, "three"));
    cr_expect(eq(ptr, (void *)element->next->next->next, NULL));
    config_free(config);
}

Test(config, knows_where_a_key_is)
{
    struct config *config = parse("a: 1\n  bc: 2\n\"d\": { e: 3 }\n");
    static const struct {
        const char *key;
        unsigned line, column; /* the first line counts from 0, the others from 1 */
    } rows[] = {{"a", 1, 0}, {"bc", 2, 3}, {"d", 3, 2}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct config_value *value = value_of(config, rows[i].key);
        cr_expect(eq(uint, value->line, rows[i].line), "%s", rows[i].key);
        cr_expect(eq(uint, value->column, rows[i].column), "%s", rows[i].key);
        cr_expect(eq(str, (char *)value->file, "x.conf"));
    }
    config_free(config);
}

/* The words are nats-server's, seen on the running server. */
Test(config, tells_errors_of_the_language)
{
    static const char top[] =
        "Expected a top-level value to end with a new line, comment or EOF, but got '";
    static const struct {
        const char *source, *words;
    } rows[] = {
        {"port:\n{", "Parse error on line 2: 'Expected value but found new line'"},
        {"a: 1 b: 2\n", top},
        {"A { } B { }", top},
        {"a: x y", "but got 'y' instead.'"},
        {"a: x \xc3\xa9", "but got '\xc3\xa9' instead.'"},
        {"a: 1.5k", "but got 'k' instead.'"},
        {"tls { a", "Parse error on line 1: 'Unexpected EOF processing map key.'"},
        {"tls { a: 1",
         "Expected a map value terminator \",\" or a map terminator \"}\", but got 'EOF'"},
        {"tls { ", "Parse error on line 1: 'Unexpected EOF processing map.'"},
        {"tls { ]", "Unexpected array end ']' processing map."},
        {"tls { = 1 }", "Unexpected key separator '='."},
        {"tls { a: , }", "Unexpected map value terminator \",\"."},
        {"tls { a: }", "Unexpected map value terminator \"}\"."},
        {"a: [1 2]",
         "Expected an array value terminator \",\" or an array terminator \"]\", but got '2'"},
        {"a: [1,,2]", "Unexpected array value terminator ','."},
        {"a: \"b\n", "Parse error on line 2: 'Unexpected EOF.'"},
        {"a: 'b", "Parse error on line 1: 'Unexpected EOF.'"},
        {"\"a", "Unexpected EOF."},
        {"a: \"\\q\"",
         "Invalid escape character 'q'. Only the following escape characters are allowed: "
         "\\xXX, \\t, \\n, \\r, \\\", \\\\."},
        {"a: \"\\x4z\"", "Expected two hexadecimal digits after '\\x', but got '4z'"},
        {"a: \\x\n", "Expected two hexadecimal digits after '\\x', but hit end of line"},
        {"= 3", "Unexpected key separator '='"},
        {"a: 10-foo", "All ISO8601 dates must be in full Zulu form."},
        {"a: 2006-x1-02T15:04:05Z", "Expected digit in ISO8601 datetime, but found 'x' instead."},
        {"a: 2006-01-02 ", "Expected 'T' in ISO8601 datetime, but found ' ' instead."},
        {"a: 2006-13-02T15:04:05Z",
         "expected Zulu formatted DateTime, but got '2006-13-02T15:04:05Z'"},
        {"a: 1.x", "Floats must have a digit after the '.', but got 'x' instead."},
        {"a: .5", "Floats must start with a digit"},
        {"a: -.5", "Floats must start with a digit, not '.'."},
        {"a: -\n", "Parse error on line 2: 'Expected a digit but got '\\n'.'"},
        {"a: 9223372036854775808", "integer '9223372036854775808' is out of the range"},
        {"a: 10e", "integer '10e' is out of the range"},
        {"a: 1kbb", "expected integer, but got '1kbb'"},
        {"a: (\nb", "Unexpected EOF processing block."},
        {"port: 1,000", "config is invalid (x.conf:1:11)"},
        {"a", "config is invalid (x.conf:1:1)"},
        {"a: $NO_SUCH_THING", "variable reference for 'NO_SUCH_THING' on line 1 can not be found"},
        {"a { b: 1 }\nc: $b", "variable reference for 'b' on line 2 can not be found"},
        {"include \"no/such\"",
         "error parsing include file 'no/such', open no/such: no such file or directory"},
        {"include [a]", "Expected include value but found start of an array"},
        {"include 3", "Expected include value but found start of a number"},
        {"include 'a", "Unexpected EOF in quoted include"},
        {"/a: 1", "Unexpected EOF."},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct config *config;
        struct text why = {0};
        enum status status = config_parse(bytes_of_text(rows[i].source), "x.conf", &config, &why);
        cr_expect(eq(int, status, STATUS_INVALID), "%s", rows[i].source);
        cr_expect(eq(ptr, config, NULL));
        text_append(&why, bytes_of("", 1));
        cr_expect(ne(ptr, strstr(why.data, rows[i].words), NULL), "%s: %s", rows[i].source,
                  why.data);
        text_free(&why);
    }
}

Test(config, accepts_what_looks_odd)
{
    static const char *const rows[] = {
        "",
        "\n\n",
        "# c",
        "// c\n#d\n",
        "{ port: 1 }",
        "{ port: 1\n",
        "{ { port: 1 }, host: a }",
        "port: 1 }",
        "port: 1\n}\n",
        "port: 1;;host: a,debug: true",
        "port\n\n\n1",
        "port: 1 # c",
        "port: 1 // c\nhost: a",
        "port: 1 / \nhost: a",
        "port: 1\r\nhost: a\r\n",
        "host:",
        "jetstream\n{\n max_mem:\n 1 // c\n max_file: 2 ; }",
        "a: [ # c\n 1, // d\n 2 // e\n ]",
        "a: []",
        "a: {}",
        "a: [[1],[2]]",
        "a: ['x','y']",
        "a: b'",
        "'a b': 1",
        "a: 2006-01-02T15:04:05Z",
        "a: 1.2.3.4",
        "a: 1x2y",
        "a: 1k1",
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct config *config = parse(rows[i]);
        cr_expect(ne(ptr, config, NULL), "%s", rows[i]);
        config_free(config);
    }
}

Test(config, resolves_variables)
{
    setenv("PAIL_TEST_SIZE", "10kb", 1);
    setenv("PAIL_TEST_MAP", "{ x: [1, 2] }", 1);
    setenv("PAIL_TEST_LOOP", "$PAIL_TEST_LOOP", 1);
    setenv("PAIL_TEST_BAD", "[1", 1);
    struct config *config =
        parse("B: { user: u }\nauth: $B\nn: 7\nm { n: 8, x: $n, B: 3 }\nl: [$n, $PAIL_TEST_SIZE]\n"
              "e: $PAIL_TEST_MAP\nhash: $2a$11$abc\nn: 9\nlast: $n\n");
    cr_expect(eq(str, (char *)config_member(value_of(config, "auth"), "user")->text.data, "u"));
    cr_expect(value_of(config, "B")->is_referenced);
    cr_expect(not(value_of(config, "auth")->is_referenced));
    cr_expect(eq(i64, config_member(value_of(config, "m"), "x")->integer, 8));
    cr_expect(eq(i64, value_of(config, "l")->first->integer, 7));
    cr_expect(eq(i64, value_of(config, "l")->first->next->integer, 10240));
    cr_expect(eq(i64, config_member(value_of(config, "e"), "x")->first->next->integer, 2));
    cr_expect(eq(str, (char *)value_of(config, "hash")->text.data, "$2a$11$abc"));
    cr_expect(eq(i64, value_of(config, "last")->integer, 9));
    config_free(config);

    struct text why = {0};
    cr_expect(eq(int, config_parse(BYTES_LITERAL("a: $PAIL_TEST_LOOP"), "x.conf", &config, &why),
                 STATUS_INVALID));
    cr_expect(ne(ptr,
                 memmem(why.data, why.count, "variable reference cycle for 'PAIL_TEST_LOOP'", 45),
                 NULL));
    text_clear(&why);
    cr_expect(eq(int, config_parse(BYTES_LITERAL("a: $PAIL_TEST_BAD"), "x.conf", &config, &why),
                 STATUS_INVALID));
    cr_expect(ne(ptr, memmem(why.data, why.count, "could not be parsed: ", 21), NULL));
    text_free(&why);
}

Test(config, includes_files_beside_it, .init = enter_folder, .fini = leave_folder)
{
    cr_assert(eq(int, mkdir("sub", 0700), 0));
    write_file(
        "main.conf",
        "port: 1\nhost: a\ninclude sub/inner.conf\nm { INCLUDE 'sub/other.conf' }\ndebug: $V\n");
    write_file("sub/inner.conf", "{ port: 2\ninclude \"other.conf\"\n}");
    write_file("sub/other.conf", "V: true");
    struct config *config;
    struct text why = {0};
    cr_assert(eq(int, config_read("main.conf", &config, &why), STATUS_OK), "%.*s", (int)why.count,
              why.data);
    cr_expect(eq(i64, value_of(config, "port")->integer, 2));
    cr_expect(eq(str, (char *)value_of(config, "port")->file, "sub/inner.conf"));
    cr_expect(value_of(config, "debug")->truth);
    cr_expect(config_member(value_of(config, "m"), "V")->truth);
    config_free(config);

    write_file("main.conf", "include main.conf\n");
    cr_expect(eq(int, config_read("main.conf", &config, &why), STATUS_INVALID));
    cr_expect(ne(ptr, memmem(why.data, why.count, "too many files", 14), NULL));
    text_clear(&why);
    cr_expect(eq(int, config_read("none.conf", &config, &why), STATUS_NOT_FOUND));
    cr_expect(eq(int, config_read("sub", &config, &why), STATUS_IO));
    text_append(&why, bytes_of("", 1));
    cr_expect(
        eq(str, why.data, "open none.conf: no such file or directoryread sub: is a directory"));
    text_free(&why);
    (void)unlink("sub/inner.conf");
    (void)unlink("sub/other.conf");
    (void)rmdir("sub");
}

Test(config, bounds_nesting)
{
    static char source[200000];
    memset(source, '[', sizeof(source) - 1);
    memcpy(source, "a: ", 3);
    cr_expect(eq(ptr, parse(source), NULL));
    for (size_t i = 0; i + 4 < sizeof(source); i += 4)
        memcpy(source + i, "a { ", 4);
    cr_expect(eq(ptr, parse(source), NULL));
    memset(source, '{', sizeof(source) - 1);
    cr_expect(eq(ptr, parse(source), NULL));
}

Test(config, applies_the_keys_it_supports)
{
    static struct loaded l;
    load(&l, "listen: \"h:1\"\nserver_name: n\nhttp: \"m:2\"\npid_file: p\nlog_file: l\ndebug: "
             "on\ntrace: yes\n"
             "logtime: off\nlogtime_utc: true\nports_file_dir: d\nmax_payload: "
             "2MB\nmax_control_line: 8kb\n"
             "max_connections: -1\nmax_pending: 128MB\nping_interval: \"30s\"\nping_max: "
             "5\nwrite_deadline: 3s\n"
             "max_subscriptions: 7\njetstream { store_dir: s, max_file_store: 10GiB, max_mem: "
             "\"1G\", strict: true, "
             "sync_interval: \"2s\" }\npail { shards: 3, segment_bytes: 1mb, cache_bytes: 5mb }\n");
    const struct options *o = &l.options;
    cr_assert(eq(int, l.status, STATUS_OK), "%.*s", (int)l.errors.count, l.errors.data);
    cr_expect(eq(sz, l.warnings.count, 0));
    cr_expect(eq(str, (char *)o->host, "h"));
    cr_expect(eq(int, o->port, 1));
    cr_expect(eq(str, (char *)o->server_name, "n"));
    cr_expect(eq(str, (char *)o->http_host, "m"));
    cr_expect(eq(int, o->http_port, 2));
    cr_expect(eq(str, (char *)o->pid_file, "p"));
    cr_expect(eq(str, (char *)o->log_file, "l"));
    cr_expect(o->debug && o->trace && !o->logtime && o->logtime_utc);
    cr_expect(eq(str, (char *)o->ports_file_dir, "d"));
    cr_expect(eq(u64, o->payload_bytes_max, 2 << 20));
    cr_expect(eq(u64, o->control_line_bytes_max, 8192));
    cr_expect(eq(u32, o->conn_count_max, 0));
    cr_expect(eq(u64, o->pending_bytes_max, 128 << 20));
    cr_expect(eq(u64, o->ping_interval_ns, 30000000000));
    cr_expect(eq(u32, o->ping_count_max, 5));
    cr_expect(eq(u64, o->write_deadline_ns, 3000000000));
    cr_expect(eq(u32, o->subscription_count_max, 7));
    cr_expect(o->jetstream && o->is_set.jetstream);
    cr_expect(eq(str, (char *)o->store_dir, "s"));
    cr_expect(eq(u64, o->file_store_bytes_max, (uint64_t)10 << 30));
    cr_expect(eq(u64, o->memory_store_bytes_max, 1 << 30));
    cr_expect(eq(u64, o->sync_interval_ns, 2000000000));
    cr_expect(eq(u32, o->shard_count, 3));
    cr_expect(eq(u64, o->segment_bytes, 1 << 20));
    cr_expect(eq(u64, o->cache_bytes, 5 << 20));
    end(&l);
}

Test(config, applies_other_forms)
{
    static const struct {
        const char *source;
        int port, http_port;
        bool jetstream;
        const char *host;
    } rows[] = {
        {"listen: 80", 80, 0, true, "0.0.0.0"},
        {"listen: \":80\"", 80, 0, true, "0.0.0.0"},
        {"listen: 127.0.0.1:-1", -1, 0, true, "127.0.0.1"},
        {"listen: \"[::1]:5\"", 5, 0, true, "::1"},
        {"http: 8222", 4222, 8222, true, "0.0.0.0"},
        {"monitor_port: -1", 4222, -1, true, "0.0.0.0"},
        {"Port: 1\nPORT: 2\nnet: b", 2, 0, true, "b"},
        {"jetstream: false", 4222, 0, false, "0.0.0.0"},
        {"jetstream: disabled", 4222, 0, false, "0.0.0.0"},
        {"jetstream: Enabled", 4222, 0, true, "0.0.0.0"},
        {"jetstream {}", 4222, 0, true, "0.0.0.0"},
        {"jetstream { enabled: no }", 4222, 0, false, "0.0.0.0"},
        {"P: 9\nport: $P", 9, 0, true, "0.0.0.0"},
        {"max_payload: 0\nping_max: 0\nping_interval: 0s", 4222, 0, true, "0.0.0.0"},
        {"port: \"x\"\nport: 3", 3, 0, true, "0.0.0.0"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static struct loaded l;
        load(&l, rows[i].source);
        cr_expect(eq(int, l.status, STATUS_OK), "%s: %.*s", rows[i].source, (int)l.errors.count,
                  l.errors.data);
        cr_expect(eq(int, l.options.port, rows[i].port), "%s", rows[i].source);
        cr_expect(eq(int, l.options.http_port, rows[i].http_port), "%s", rows[i].source);
        cr_expect(eq(int, l.options.jetstream, rows[i].jetstream), "%s", rows[i].source);
        cr_expect(eq(str, l.options.host, (char *)rows[i].host), "%s", rows[i].source);
        cr_expect(eq(u64, l.options.payload_bytes_max, 1 << 20));
        end(&l);
    }
}

Test(config, tells_wrong_keys_and_values)
{
    static const struct {
        const char *source, *errors;
    } rows[] = {
        {"foo: 1", "x.conf:1:0: unknown field \"foo\"\n"},
        {"\n  Foo: 1\n", "x.conf:2:3: unknown field \"Foo\"\n"},
        {"jetstream { foo: 1 }", "x.conf:1:12: unknown field \"foo\"\n"},
        {"pail { foo: 1 }", "x.conf:1:7: unknown field \"foo\"\n"},
        {"a: 1\nb: 2", "x.conf:1:0: unknown field \"a\"\nx.conf:2:1: unknown field \"b\"\n"},
        {"port: \"a\"", "x.conf:1:0: interface conversion: interface {} is string, not int64\n"},
        {"host: 1", "x.conf:1:0: interface conversion: interface {} is int64, not string\n"},
        {"host: {}",
         "x.conf:1:0: interface conversion: interface {} is map[string]interface {}, not string\n"},
        {"host: []",
         "x.conf:1:0: interface conversion: interface {} is []interface {}, not string\n"},
        {"debug: 1.5", "x.conf:1:0: interface conversion: interface {} is float64, not bool\n"},
        {"debug: \"true\"", "x.conf:1:0: interface conversion: interface {} is string, not bool\n"},
        {"max_payload: 9999999999", "x.conf:1:0: max_payload value is too big\n"},
        {"max_payload: -5", "x.conf:1:0: max_payload value is too small\n"},
        {"listen: abc", "x.conf:1:0: could not parse address string \"abc\"\n"},
        {"listen: \"::1:4\"", "x.conf:1:0: could not parse address string \"::1:4\"\n"},
        {"listen: \"a:b\"", "x.conf:1:0: could not parse port \"b\"\n"},
        {"listen: 1.5", "x.conf:1:0: expected port or host:port, got float64\n"},
        {"server_name: \"a b\"", "x.conf:1:0: server name cannot contain spaces\n"},
        {"jetstream: foo",
         "x.conf:1:0: Expected 'enabled' or 'disabled' for string value, got 'foo'\n"},
        {"jetstream: 1",
         "x.conf:1:0: Expected map, bool or string to define JetStream, got int64\n"},
        {"pail: 1", "x.conf:1:0: Expected map to define pail, got int64\n"},
        {"pail { shards: 65 }", "x.conf:1:7: shards value is too big\n"},
        {"jetstream { max_mem: \"1m\" }",
         "x.conf:1:12: max_mem_store sizes defined as strings must end in K, M, G, T\n"},
        {"jetstream { max_file: \"1MB\" }",
         "x.conf:1:12: max_file_store strconv.ParseInt: parsing \"1M\": invalid syntax\n"},
        {"jetstream { max_file: true }", "x.conf:1:12: max_file_store must be int64 or string\n"},
        {"store_dir: a\njetstream { store_dir: b }",
         "x.conf:2:13: Duplicate 'store_dir' configuration\n"},
        {"ping_interval: \"30\"",
         "x.conf:1:0: error parsing ping_interval: time: missing unit in duration \"30\"\n"},
        {"ping_interval: 1d",
         "x.conf:1:0: error parsing ping_interval: time: unknown unit \"d\" in duration \"1d\"\n"},
        {"ping_interval: x",
         "x.conf:1:0: error parsing ping_interval: time: invalid duration \"x\"\n"},
        {"ping_interval: \"\"",
         "x.conf:1:0: error parsing ping_interval: time: invalid duration \"\"\n"},
        {"tls {}", "x.conf:1:0: pail does not support 'tls' yet\n"},
        {"\n\nMappings {}", "x.conf:3:1: pail does not support 'mappings' yet\n"},
        {"jetstream { domain: hub }",
         "x.conf:1:12: pail does not support 'jetstream.domain' yet\n"},
        {"jetstream { strict: 1 }", "x.conf:1:12: Expected 'true' or 'false' for bool value\n"},
        {"lame_duck_duration: 45",
         "x.conf:1:0: interface conversion: interface {} is int64, not string\n"},
        {"lame_duck_duration: 10s",
         "x.conf:1:0: invalid lame_duck_duration of 10s, minimum is 30 seconds\n"},
        {"lame_duck_grace_period: \"-5s\"",
         "x.conf:1:0: invalid lame_duck_grace_period, needs to be positive\n"},
        {"server_tags: 5", "x.conf:1:0: error parsing tags: unsupported type int64\n"},
        {"server_metadata: 5", "x.conf:1:0: error parsing metadata: unsupported type int64\n"},
        {"server_metadata { a: 5 }",
         "x.conf:1:18: interface conversion: interface {} is int64, not string\n"},
        {"write_timeout: foo", "x.conf:1:0: write_timeout must be 'default', 'close' or 'retry'\n"},
        {"max_sub_tokens: -1", "x.conf:1:0: max_sub_tokens value can not be negative\n"},
        {"max_sub_tokens: 300", "x.conf:1:0: max_sub_tokens value is too big\n"},
        {"leafnodes { remotes: [] }",
         "x.conf:1:12: pail does not support 'leafnodes.remotes' yet\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static struct loaded l;
        load(&l, rows[i].source);
        cr_expect(eq(int, l.status, STATUS_INVALID), "%s", rows[i].source);
        cr_expect(bytes_equal(text_bytes(&l.errors), bytes_of_text(rows[i].errors)), "%s: %.*s",
                  rows[i].source, (int)l.errors.count, l.errors.data);
        end(&l);
    }
}

Test(config, warns_as_nats_server_does)
{
    static struct loaded l;
    load(&l, "ping_interval: 30");
    cr_expect(eq(int, l.status, STATUS_OK));
    cr_expect(eq(u64, l.options.ping_interval_ns, 30000000000));
    cr_expect(bytes_equal(
        text_bytes(&l.warnings),
        bytes_of_text("x.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be "
                      "converted to a duration\n")));
    end(&l);
    load(&l, "# nothing\n");
    cr_expect(bytes_equal(text_bytes(&l.warnings),
                          bytes_of_text("x.conf: config has no values or is empty\n")));
    end(&l);
}

Test(config, lets_flags_win, .init = enter_folder, .fini = leave_folder)
{
    static struct options options;
    struct options_output output = {0};
    write_file("main.conf", "port: 1\njetstream: true\ndebug: true\nhost: h\n");
    char *words[] = {"pail", "-p", "2", "-c", "main.conf", "-js=false"};
    cr_expect(eq(int, config_load(&options, COUNT_OF(words), words, &output), OPTIONS_START));
    cr_expect(eq(int, options.port, 2));
    cr_expect(not(options.jetstream));
    cr_expect(options.debug);
    cr_expect(eq(str, options.host, "h"));
    cr_expect(options.cache_bytes > 0);
    cr_expect(eq(sz, output.err.count, 0));
    auth_free(options.auth);

    write_file("main.conf", "store_dir: a\n");
    char *twice[] = {"pail", "-sd", "b", "-c", "main.conf"};
    cr_expect(eq(int, config_load(&options, COUNT_OF(twice), twice, &output), OPTIONS_EXIT));
    cr_expect(eq(int, output.exit_code, 1));
    cr_expect(
        bytes_equal(text_bytes(&output.err),
                    bytes_of_text("pail: main.conf:1:0: Duplicate 'store_dir' configuration\n\n")));
    auth_free(options.auth);
    text_free(&output.err);
}

Test(config, checks_a_file_and_exits, .init = enter_folder, .fini = leave_folder)
{
    static const struct {
        const char *source, *words;
        int exit_code;
    } rows[] = {
        {"port: 1",
         "pail: configuration file main.conf is valid "
         "(sha256:5b27b68e52c25859a76c94f378c31d5a499ca677a46b38fb5f58ded229b59650)\n",
         0},
        {"port: x",
         "pail: main.conf:1:0: interface conversion: interface {} is string, not int64\n\n", 1},
        {"", "pail: main.conf: config has no values or is empty\n\n", 1},
        {"ping_interval: 1",
         "pail: main.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be "
         "converted to a duration\n\n",
         1},
        {"a: {", "pail: Parse error on line 1: 'Unexpected EOF processing map.'\n", 1},
        {NULL, "pail: open main.conf: no such file or directory\n", 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static struct options options;
        struct options_output output = {0};
        char *words[] = {"pail", "-t", "-c", "main.conf"};
        if (rows[i].source != NULL)
            write_file("main.conf", rows[i].source);
        else
            (void)unlink("main.conf");
        cr_expect(eq(int, config_load(&options, COUNT_OF(words), words, &output), OPTIONS_EXIT));
        cr_expect(eq(int, output.exit_code, rows[i].exit_code), "%s", rows[i].words);
        cr_expect(bytes_equal(text_bytes(&output.err), bytes_of_text(rows[i].words)), "%.*s",
                  (int)output.err.count, output.err.data);
        auth_free(options.auth);
        text_free(&output.err);
        text_free(&output.out);
    }
    static struct options options;
    struct options_output output = {0};
    char *words[] = {"pail", "-t"};
    cr_expect(eq(int, config_load(&options, 2, words, &output), OPTIONS_EXIT));
    cr_expect(eq(int, output.exit_code, 1));
    text_free(&output.err);
}

/* Property: cut, changed and doubled texts give a tree or a line of words; a failing seed is printed and replayed. */
Test(config, survives_mutated_files)
{
    static const char text[] =
        "listen: 127.0.0.1:4222 # c\nA: { b: [1, 2k, \"x\\x41\"], c: 'd' }\nj = $A\nb: (\n x\n)\n"
        "d: 2006-01-02T15:04:05Z, f: 1.5; g: -3mb // e\n\"q\" : yes\njetstream { max_mem: \"1G\", "
        "sync: always }\n"
        "include nothing\nping_interval: 1m30s\n";
    static const char bytes[] = "{}[]()\"'\\:=,;#/$.-+ \n\r\tkxe019TZ\x80\xff";
    const char *given = getenv("TEST_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + (given != NULL ? 1 : 20000); seed++) {
        uint64_t state = seed * 0x9e3779b97f4a7c15u | 1;
        char *source = malloc(2 * sizeof(text));
        size_t count = sizeof(text) - 1;
        memcpy(source, text, count);
        for (unsigned i = 0; i < 1 + seed % 6; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(state >> 33) % (count + 1);
            switch (state >> 60 & 3) {
            case 0:
                count = at;
                break;
            case 1:
                memmove(source + at / 2, source + at, count - at);
                count -= at - at / 2;
                break;
            default:
                if (at < count)
                    source[at] = bytes[(state >> 20) % sizeof(bytes)];
            }
        }
        source = realloc(source, count + 1); /* exact, so that reading on is seen */
        struct config *config;
        struct text why = {0};
        enum status status = config_parse(bytes_of(source, count), "x.conf", &config, &why);
        cr_assert(eq(int, status == STATUS_OK, why.count == 0), "TEST_SEED=%llu",
                  (unsigned long long)seed);
        cr_assert(eq(int, status == STATUS_OK, config != NULL), "TEST_SEED=%llu",
                  (unsigned long long)seed);
        if (config != NULL) {
            static struct options options;
            struct text errors = {0}, warnings = {0};
            options_init(&options);
            (void)!config_apply(&options, config, &errors, &warnings);
            text_free(&errors);
            text_free(&warnings);
        }
        config_free(config);
        text_free(&why);
        free(source);
    }
}

static void load(struct loaded *loaded, const char *source)
{
    struct config *config = parse(source);
    *loaded = (struct loaded){0};
    cr_assert(ne(ptr, config, NULL), "%s", source);
    options_init(&loaded->options);
    loaded->status = config_apply(&loaded->options, config, &loaded->errors, &loaded->warnings);
    config_free(config);
}

static void end(struct loaded *loaded)
{
    text_free(&loaded->errors);
    text_free(&loaded->warnings);
}

static struct config *parse(const char *source)
{
    struct config *config;
    struct text why = {0};
    enum status status = config_parse(bytes_of_text(source), "x.conf", &config, &why);
    cr_assert(eq(int, status == STATUS_OK, config != NULL));
    text_free(&why);
    return config;
}

static const struct config_value *value_of(struct config *config, const char *key)
{
    return config_member(config_root(config), key);
}

static void write_file(const char *name, const char *source)
{
    FILE *file = fopen(name, "w");
    cr_assert(ne(ptr, file, NULL));
    cr_assert(eq(sz, fwrite(source, 1, strlen(source), file), strlen(source)));
    fclose(file);
}

static void enter_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/pail_config_test_XXXXXX");
    cr_assert(ne(ptr, mkdtemp(folder), NULL));
    cr_assert(eq(int, chdir(folder), 0));
}

static void leave_folder(void)
{
    (void)unlink("main.conf");
    cr_assert(eq(int, chdir("/"), 0));
    (void)rmdir(folder);
}

Test(config, takes_what_is_more_than_one_option)
{
    static struct loaded l;
    load(&l, "server_tags: [\"id:a\", b]\nserver_metadata { k: v, l: \"w x\" }\n"
             "lame_duck_duration: 45s\nlame_duck_grace_period: \"0s\"\n"
             "leafnodes { listen: \"127.0.0.1:-1\" }\nmax_sub_tokens: 7\nno_sublist_cache: true\n"
             "jetstream { strict: false, meta_compact: 5 }\nwrite_timeout: close\n");
    cr_assert(eq(int, l.status, STATUS_OK), "%.*s", (int)l.errors.count, l.errors.data);
    cr_expect(eq(str, l.options.server_tags, "id:a\nb"));
    cr_expect(eq(str, l.options.server_metadata, "k\nv\nl\nw x"));
    cr_expect(eq(u64, l.options.lame_duck_duration_ns, UINT64_C(45000000000)));
    cr_expect(eq(u64, l.options.lame_duck_grace_ns, 0));
    cr_expect(l.options.has_leafnodes);
    cr_expect(not(l.options.strict));
    cr_expect(eq(u32, l.options.token_count_max, 7));
    cr_expect(eq(str, l.options.ignored, "no_sublist_cache, jetstream.meta_compact"));
    end(&l);
}

/* The expected ones are nats-server's. */
Test(config, names_what_a_file_says_by_a_digest)
{
    static const struct {
        const char *source, *digest;
    } rows[] = {
        {"max_payload: 100\n",
         "sha256:3f3104db17e6b3b7d0b780ffe7b48223c8fcc139fd55405f9080479f78d171ad"},
        {"server_name: \"a<b\"\nport: 4222\nhttp: 8222\ndebug: true\n",
         "sha256:66e32860290b869298f266ea87fe7b59d860d7d6770169565f79ef96988a6fc0"},
        {"A: { user: u, password: p }\nauthorization: $A\nmax_pending: 64MiB\n",
         "sha256:ec7fca5013189fda2405a1248fb911d8ca4741a0f9092393bea9362bf28bac96"},
        {"authorization { timeout: 1.5 }\njetstream { store_dir: 'x y', max_mem: 1G }\n",
         "sha256:2bf8f0921d193c0a2f913a8e822d3a4183811c8dd8d927de489d344b5e5d22a2"},
        {"server_tags: [\"a\", \"b\"]\n",
         "sha256:e09a48bacda8a05513e0da3231f1cef15d6c5fc6831f9a9b17c803c10209238c"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char digest[CONFIG_DIGEST_BYTES];
        struct config *config = parse(rows[i].source);
        config_digest(config, digest);
        cr_expect(eq(str, digest, (char *)(uintptr_t)rows[i].digest), "%s", rows[i].source);
        config_free(config);
    }
}
