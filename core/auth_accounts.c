/*
 * core/auth_accounts.c: `accounts`: users, JetStream, limits, exports and imports of each.
 *
 * Keeps:   an account's index is its place in auth->accounts; $G and $SYS are the first two. An import points to the export that
 *          allows it, or the configuration is refused.
 * Runs on: the main thread.
 */
#include <strings.h>

#include "core/assert.h"
#include "core/auth_reader.h"
#include "core/subject.h"

enum { CONFIGURED_MAX = ACCOUNTS_MAX / 2 }; /* the store may name others */

static const int64_t THRESHOLD_NS = 120 * INT64_C(1000000000);

uint32_t auth_find_account(const struct auth *auth, struct bytes name)
{
    for (uint32_t i = 0; i < auth->account_count; i++) {
        if (bytes_equal(auth->accounts[i].name, name))
            return i;
    }
    return ACCOUNT_NONE;
}

uint32_t auth_add_account(struct auth_reader *reader, struct bytes name)
{
    struct auth *auth = reader->auth;
    if (auth->account_count == reader->account_capacity) {
        uint32_t capacity = reader->account_capacity == 0 ? 8 : reader->account_capacity * 2;
        struct auth_account *wider = auth_alloc(auth, capacity * sizeof(*wider));
        if (auth->account_count > 0)
            memcpy(wider, auth->accounts, auth->account_count * sizeof(*wider));
        auth->accounts = wider;
        reader->account_capacity = capacity;
    }
    auth->accounts[auth->account_count] = (struct auth_account){
        .name = auth_copy(auth, name),
        .limits = account_no_limits,
        .conns_max = -1,
        .subscriptions_max = -1,
        .payload_max = -1,
    };
    return auth->account_count++;
}

/* ---- JetStream and limits ---- */

static void read_jetstream_limits(struct auth_reader *reader, const struct config_value *map,
                                  struct account_limits *limits)
{
    static const struct {
        const char *names;
        size_t offset;
    } rows[] = {
        {"max_memory max_mem mem memory", offsetof(struct account_limits, memory_bytes_max)},
        {"max_store max_file max_disk store disk", offsetof(struct account_limits, file_bytes_max)},
        {"max_streams streams", offsetof(struct account_limits, streams_max)},
        {"max_consumers consumers", offsetof(struct account_limits, consumers_max)},
        {"max_ack_pending", offsetof(struct account_limits, ack_pending_max)},
        {"memory_max_stream_bytes mem_max_stream_bytes",
         offsetof(struct account_limits, memory_stream_bytes_max)},
        {"disk_max_stream_bytes store_max_stream_bytes",
         offsetof(struct account_limits, file_stream_bytes_max)},
    };
    for (const struct config_value *item = map->first; item != NULL; item = item->next) {
        size_t i = 0;
        while (i < COUNT_OF(rows) && !auth_key_is(item, rows[i].names))
            i++;
        bool flag = false;
        if (i < COUNT_OF(rows) && item->type != CONFIG_INTEGER)
            auth_error(reader, item, "Expected a parseable size for \"%.*s\", got %s",
                       (int)item->key.count, item->key.data,
                       item->type == CONFIG_STRING ? item->text.data : "another type");
        else if (i < COUNT_OF(rows))
            memcpy((char *)limits + rows[i].offset, &item->integer, sizeof(int64_t));
        else if (auth_key_is(item, "max_bytes_required max_stream_bytes max_bytes")) {
            if (auth_bool(reader, item, &flag))
                limits->needs_bytes_max = flag;
        } else if (auth_key_is(item, "cluster_traffic")) {
            continue; /* there is no cluster */
        } else {
            auth_unknown(reader, item);
        }
    }
}

static void read_jetstream(struct auth_reader *reader, const struct config_value *value,
                           struct auth_account *account)
{
    switch (value->type) {
    case CONFIG_BOOL:
        account->has_jetstream = value->truth;
        return;
    case CONFIG_STRING:
        if (strcasecmp(value->text.data, "enabled") == 0
            || strcasecmp(value->text.data, "enable") == 0)
            account->has_jetstream = true;
        else if (strcasecmp(value->text.data, "disabled") == 0
                 || strcasecmp(value->text.data, "disable") == 0)
            account->has_jetstream = false;
        else
            auth_error(reader, value, "Expected 'enabled' or 'disabled' for string value, got '%s'",
                       value->text.data);
        return;
    case CONFIG_MAP:
        account->has_jetstream = true;
        read_jetstream_limits(reader, value, &account->limits);
        return;
    default:
        auth_error(reader, value, "Expected map, bool or string to define JetStream");
    }
}

static void read_limits(struct auth_reader *reader, const struct config_value *value,
                        struct auth_account *account)
{
    if (value->type != CONFIG_MAP) {
        auth_type_error(reader, value, "map[string]interface {}");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        int64_t *place = NULL;
        if (auth_key_is(item, "max_connections max_conn"))
            place = &account->conns_max;
        else if (auth_key_is(item, "max_subscriptions max_subs"))
            place = &account->subscriptions_max;
        else if (auth_key_is(item, "max_payload max_pay"))
            place = &account->payload_max;
        else if (auth_key_is(item, "max_leafnodes max_leafs"))
            continue; /* there are none */
        if (place != NULL)
            (void)auth_integer(reader, item, place); /* a mistake was told */
        else
            auth_unknown(reader, item);
    }
}

/* ---- exports ---- */

static bool read_response(struct auth_reader *reader, const struct config_value *value,
                          struct auth_export *export)
{
    struct bytes text;
    if (!auth_text(reader, value, &text))
        return false;
    if (strcasecmp(text.data, "single") == 0 || strcasecmp(text.data, "singleton") == 0)
        export->response = AUTH_RESPONSE_SINGLETON;
    else if (strcasecmp(text.data, "stream") == 0)
        export->response = AUTH_RESPONSE_STREAM;
    else if (strcasecmp(text.data, "chunk") == 0 || strcasecmp(text.data, "chunked") == 0)
        export->response = AUTH_RESPONSE_CHUNKED;
    else {
        auth_error(reader, value, "Unknown response type: \"%s\"", text.data);
        return false;
    }
    return true;
}

static void read_names(struct auth_reader *reader, const struct config_value *value,
                       struct auth_export *export)
{
    uint32_t count = 0;
    if (value->type != CONFIG_ARRAY) {
        auth_error(reader, value, "Expected accounts field to be an array");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next)
        count++;
    export->is_private = true;
    export->accounts = auth_alloc(reader->auth, (count + 1) * sizeof(struct bytes));
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        if (!auth_text(reader, item, &export->accounts[export->account_count++]))
            return;
    }
}

static void read_subject(struct auth_reader *reader, const struct config_value *value,
                         struct bytes *subject)
{
    if (auth_text(reader, value, subject) && !subject_is_valid(*subject))
        auth_error(reader, value, "subject \"%s\" is not a valid subject", subject->data);
}

static void read_export(struct auth_reader *reader, const struct config_value *value,
                        struct auth_export *export)
{
    *export = (struct auth_export){.threshold_ns = THRESHOLD_NS};
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value, "Export Items should be a map with type entry");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        if (auth_key_is(item, "stream service")) {
            export->is_service = auth_key_is(item, "service");
            read_subject(reader, item, &export->subject);
        } else if (auth_key_is(item, "response response_type")) {
            (void)read_response(reader, item, export);
        } else if (auth_key_is(item, "threshold response_threshold response_max_time "
                                     "response_time")) {
            if (item->type != CONFIG_STRING
                || !text_parse_duration(item->text, &export->threshold_ns))
                auth_error(reader, item,
                           "Expected response threshold to be a parseable time "
                           "duration");
        } else if (auth_key_is(item, "accounts")) {
            read_names(reader, item, export);
        } else if (auth_key_is(item, "allow_trace")) {
            continue; /* nothing is traced */
        } else if (auth_key_is(item, "latency account_token_position")) {
            auth_refuse(reader, item, "exports");
        } else {
            auth_unknown(reader, item);
        }
    }
    if (export->subject.count == 0)
        auth_error(reader, value, "Export without a stream or service");
}

/* ---- imports ---- */

static void read_source(struct auth_reader *reader, const struct config_value *value,
                        struct auth_import *import)
{
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value, "Import entry should be an account map with account and subject");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        if (auth_key_is(item, "account"))
            (void)auth_text(reader, item, &import->from);
        else if (auth_key_is(item, "subject"))
            read_subject(reader, item, &import->subject);
        else
            auth_unknown(reader, item);
    }
}

static void read_import(struct auth_reader *reader, const struct config_value *value,
                        struct auth_import *import)
{
    struct bytes prefix = {NULL, 0};
    *import = (struct auth_import){.account = ACCOUNT_NONE};
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value, "Import Items should be a map with type entry");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        if (auth_key_is(item, "stream service")) {
            import->is_service = auth_key_is(item, "service");
            read_source(reader, item, import);
        } else if (auth_key_is(item, "prefix")) {
            (void)auth_text(reader, item, &prefix);
        } else if (auth_key_is(item, "to")) {
            read_subject(reader, item, &import->to);
        } else if (auth_key_is(item, "share")) {
            (void)auth_bool(reader, item, &import->is_shared);
        } else if (auth_key_is(item, "allow_trace")) {
            continue;
        } else {
            auth_unknown(reader, item);
        }
    }
    if (import->subject.count == 0 || import->from.count == 0) {
        auth_error(reader, value, "Import entry should have an account and a subject");
        return;
    }
    if (import->to.count == 0 && prefix.count > 0) {
        struct text to = {.data = NULL};
        text_append(&to, prefix);
        if (prefix.data[prefix.count - 1] != '.')
            text_append_literal(&to, ".");
        text_append(&to, import->subject);
        import->to = auth_copy(reader->auth, text_bytes(&to));
        text_free(&to);
    }
    if (import->to.count == 0)
        import->to = import->subject;
}

/* `read` for each element into an array of its own. */
static void *read_array(struct auth_reader *reader, const struct config_value *array,
                        size_t item_bytes, uint32_t *count_out,
                        void (*read)(struct auth_reader *reader, const struct config_value *value,
                                     void *item))
{
    uint32_t count = 0;
    if (array->type != CONFIG_ARRAY) {
        auth_error(reader, array, "%.*s should be an array", (int)array->key.count,
                   array->key.data);
        return NULL;
    }
    for (const struct config_value *item = array->first; item != NULL; item = item->next)
        count++;
    char *items = auth_alloc(reader->auth, (count + 1) * item_bytes);
    *count_out = 0;
    for (const struct config_value *item = array->first; item != NULL; item = item->next)
        read(reader, item, items + item_bytes * (*count_out)++);
    return items;
}

static void read_export_item(struct auth_reader *reader, const struct config_value *value,
                             void *item)
{
    read_export(reader, value, item);
}

static void read_import_item(struct auth_reader *reader, const struct config_value *value,
                             void *item)
{
    read_import(reader, value, item);
}

/* ---- the block ---- */

static void read_account(struct auth_reader *reader, const struct config_value *value)
{
    struct bytes name = value->key;
    if (bytes_equal(name, BYTES_LITERAL("$G"))) {
        auth_error(reader, value, "\"$G\" is a Reserved Account");
        return;
    }
    uint32_t index = auth_find_account(reader->auth, name);
    if (index == ACCOUNT_NONE && reader->auth->account_count == CONFIGURED_MAX) {
        auth_error(reader, value, "pail takes %d accounts", CONFIGURED_MAX);
        return;
    }
    if (name.count > ACCOUNT_NAME_BYTES_MAX) {
        auth_error(reader, value, "an account's name takes %d bytes", ACCOUNT_NAME_BYTES_MAX);
        return;
    }
    if (index == ACCOUNT_NONE)
        index = auth_add_account(reader, name);
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value, "Expected map entries for accounts");
        return;
    }
    const struct config_value *users = NULL;
    struct auth_account account = reader->auth->accounts[index];
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        if (auth_key_is(item, "users"))
            users = item;
        else if (auth_key_is(item, "default_permission default_permissions permissions"))
            account.default_permissions = auth_read_permissions(reader, item);
        else if (auth_key_is(item, "jetstream"))
            read_jetstream(reader, item, &account);
        else if (auth_key_is(item, "limits"))
            read_limits(reader, item, &account);
        else if (auth_key_is(item, "exports"))
            account.exports = read_array(reader, item, sizeof(struct auth_export),
                                         &account.export_count, read_export_item);
        else if (auth_key_is(item, "imports"))
            account.imports = read_array(reader, item, sizeof(struct auth_import),
                                         &account.import_count, read_import_item);
        else if (auth_key_is(item, "nkey mappings maps msg_trace trace_dest"))
            auth_refuse(reader, item, "accounts");
        else
            auth_unknown(reader, item);
    }
    reader->auth->accounts[index] = account;
    if (users != NULL)
        auth_read_users(reader, users, index, account.default_permissions);
}

void auth_read_accounts(struct auth_reader *reader, const struct config_value *value)
{
    if (value->type == CONFIG_ARRAY) {
        for (const struct config_value *item = value->first; item != NULL; item = item->next) {
            struct bytes name;
            if (auth_text(reader, item, &name)
                && auth_find_account(reader->auth, name) == ACCOUNT_NONE)
                (void)auth_add_account(reader, name);
        }
        return;
    }
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value, "Expected accounts field to be a map or an array");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        bool is_last = true; /* of a name given twice the last one counts */
        for (const struct config_value *later = item->next; later != NULL; later = later->next) {
            if (bytes_equal(later->key, item->key))
                is_last = false;
        }
        if (is_last)
            read_account(reader, item);
    }
}

static bool export_admits(const struct auth_export *export, struct bytes importer)
{
    if (!export->is_private)
        return true;
    for (uint32_t i = 0; i < export->account_count; i++) {
        if (bytes_equal(export->accounts[i], importer))
            return true;
    }
    return false;
}

static void link_import(struct auth_reader *reader, const struct auth_account *importer,
                        struct auth_import *import)
{
    const char *kind = import->is_service ? "service" : "stream";
    import->account = auth_find_account(reader->auth, import->from);
    if (import->account == ACCOUNT_NONE) {
        text_append_format(reader->errors, "\"%s\" account not defined for %s import\n",
                           import->from.data, kind);
        return;
    }
    const struct auth_account *exporter = &reader->auth->accounts[import->account];
    for (uint32_t i = 0; i < exporter->export_count && import->export == NULL; i++) {
        const struct auth_export *export = &exporter->exports[i];
        if (export->is_service == import->is_service
            && subject_is_subset(export->subject, import->subject)
            && export_admits(export, importer->name))
            import->export = export;
    }
    if (import->export == NULL)
        text_append_format(reader->errors,
                           "Error adding %s import \"%s\": %s import not authorized\n", kind,
                           import->subject.data, kind);
}

void auth_link_imports(struct auth_reader *reader)
{
    struct auth *auth = reader->auth;
    for (uint32_t i = 0; i < auth->account_count; i++) {
        for (uint32_t j = 0; j < auth->accounts[i].import_count; j++)
            link_import(reader, &auth->accounts[i], &auth->accounts[i].imports[j]);
    }
}
