/*
 * core/auth_read.c: flags, `authorization`, `no_auth_user`, `system_account`, and what only all of it together can tell.
 *
 * Keeps:   every mistake is told with its place. What pail does not have (nkeys, operators, callouts) is refused by its key.
 * Runs on: the main thread.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/assert.h"
#include "core/auth_reader.h"

static const uint64_t TIMEOUT_NS = 2 * UINT64_C(1000000000);

static void read_authorization(struct auth_reader *reader, const struct config_value *value);
static void read_flags(struct auth_reader *reader, const struct options *options);
static void finish(struct auth_reader *reader, const struct config_value *root);

static const char auth_keys[] = "authorization accounts no_auth_user system_account system";

static bool has_word(const char *words, struct bytes word)
{
    while (*words != '\0') {
        size_t count = strcspn(words, " ");
        if (count == word.count && strncasecmp(words, word.data, count) == 0)
            return true;
        words += count;
        words += *words == ' ' ? 1 : 0;
    }
    return false;
}

bool auth_is_key(const char *path)
{
    return has_word(auth_keys, bytes_of_text(path));
}

enum status auth_read(const struct options *options, const struct config_value *root,
                      struct auth **auth_out, struct text *errors, struct text *warnings)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    ASSERT(auth != NULL);
    struct auth_reader reader = {.auth = auth, .errors = errors, .warnings = warnings};
    size_t errors_before = errors->count;
    auth->timeout_ns = TIMEOUT_NS;
    (void)auth_add_account(&reader, BYTES_LITERAL("$G"));
    (void)auth_add_account(&reader, BYTES_LITERAL("$SYS"));
    auth->system = ACCOUNT_SYSTEM;
    for (const struct config_value *value = root == NULL ? NULL : root->first; value != NULL;
         value = value->next) {
        if (auth_key_is(value, "authorization"))
            read_authorization(&reader, value);
        else if (auth_key_is(value, "accounts"))
            auth_read_accounts(&reader, value);
    }
    read_flags(&reader, options);
    if (errors->count == errors_before)
        finish(&reader, root);
    if (errors->count == errors_before) {
        *auth_out = auth;
        return STATUS_OK;
    }
    *auth_out = NULL;
    auth_free(auth);
    return STATUS_INVALID;
}

/* ---- authorization ---- */

static struct user *add_user(struct auth_reader *reader)
{
    struct auth *auth = reader->auth;
    if (auth->user_count == reader->user_capacity) {
        uint32_t capacity = reader->user_capacity == 0 ? 16 : reader->user_capacity * 2;
        struct user *wider = auth_alloc(auth, capacity * sizeof(*wider));
        if (auth->user_count > 0)
            memcpy(wider, auth->users, auth->user_count * sizeof(*wider));
        auth->users = wider;
        reader->user_capacity = capacity;
    }
    return &auth->users[auth->user_count++];
}

static struct user *make_single(struct auth_reader *reader, struct bytes name,
                                struct bytes password)
{
    struct user *user = auth_alloc(reader->auth, sizeof(*user));
    user->name = auth_copy(reader->auth, name);
    user->password = auth_copy(reader->auth, password);
    return user;
}

static void read_timeout(struct auth_reader *reader, const struct config_value *value)
{
    int64_t ns = -1;
    if (value->type == CONFIG_INTEGER)
        ns = value->integer < 1000000 ? value->integer * 1000000000 : INT64_MAX;
    else if (value->type == CONFIG_FLOAT)
        ns = value->number < 1e6 ? (int64_t)(value->number * 1e9) : INT64_MAX;
    else if (value->type == CONFIG_STRING && !text_parse_duration(value->text, &ns))
        ns = -1;
    if (ns < 0) {
        auth_error(reader, value, "error parsing timeout: neither seconds nor a duration");
        return;
    }
    if (ns > 60 * INT64_C(1000000000))
        text_append_format(reader->warnings,
                           "%s:%u:%u: timeout of %.0fs (%.0f seconds) is high, consider keeping it "
                           "under 60 seconds. possibly caused by unquoted duration; use '1m' "
                           "instead of 1m, for example\n",
                           value->file, value->line, value->column, (double)ns / 1e9,
                           (double)ns / 1e9);
    reader->auth->timeout_ns = ns == 0 ? TIMEOUT_NS : (uint64_t)ns;
}

static void read_authorization(struct auth_reader *reader, const struct config_value *value)
{
    struct bytes user = {NULL, 0}, password = {NULL, 0}, token = {NULL, 0};
    const struct config_value *users = NULL;
    const struct permissions *default_permissions = NULL;
    if (value->type != CONFIG_MAP) {
        auth_type_error(reader, value, "map[string]interface {}");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        bool flag = false;
        if (auth_key_is(item, "user username"))
            (void)auth_text(reader, item, &user); /* a mistake was told: the start fails */
        else if (auth_key_is(item, "pass password"))
            (void)auth_text(reader, item, &password);
        else if (auth_key_is(item, "token"))
            (void)auth_text(reader, item, &token);
        else if (auth_key_is(item, "timeout"))
            read_timeout(reader, item);
        else if (auth_key_is(item, "users"))
            users = item;
        else if (auth_key_is(item, "default_permission default_permissions permissions"))
            default_permissions = auth_read_permissions(reader, item);
        else if (auth_key_is(item, "proxy_required") && (!auth_bool(reader, item, &flag) || !flag))
            continue;
        else if (auth_key_is(item, "auth_callout auth_hook proxy_required"))
            auth_refuse(reader, item, "authorization");
        else
            auth_unknown(reader, item);
    }
    bool has_single = user.count > 0 || password.count > 0;
    if (has_single && token.count > 0)
        auth_error(reader, value, "Cannot have a user/pass and token");
    if (has_single && users != NULL)
        auth_error(reader, value, "Can not have a single user/pass and a users array");
    if (token.count > 0 && users != NULL)
        auth_error(reader, value, "Can not have a token and a users array");
    if (users != NULL)
        auth_read_users(reader, users, ACCOUNT_GLOBAL, default_permissions);
    if (user.count > 0)
        reader->auth->single = make_single(reader, user, password);
    if (token.count > 0) {
        struct user *made = make_single(reader, (struct bytes){"", 0}, token);
        made->is_token = true;
        reader->auth->token = made;
    }
}

/* ---- users ---- */

static bool read_connection_types(struct auth_reader *reader, const struct config_value *value,
                                  struct user *user)
{
    static const char *const known[] = {"STANDARD", "WEBSOCKET", "LEAFNODE",   "LEAFNODE_WS",
                                        "MQTT",     "MQTT_WS",   "IN_PROCESS", NULL};
    if (value->type != CONFIG_ARRAY) {
        auth_error(reader, value, "error parsing allowed connection types: not an array");
        return false;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        unsigned i = 0;
        while (known[i] != NULL
               && (item->type != CONFIG_STRING || strcasecmp(known[i], item->text.data) != 0))
            i++;
        if (known[i] == NULL) {
            auth_error(reader, item, "invalid connection types [\"%s\"]",
                       item->type == CONFIG_STRING ? item->text.data : "");
            return false;
        }
        user->connection_types |= 1u << i; /* the first two are the bits of core/auth.h */
    }
    return true;
}

static void read_user(struct auth_reader *reader, const struct config_value *value,
                      uint32_t account, const struct permissions *default_permissions)
{
    struct user user = {.name = {"", 0},
                        .password = {"", 0},
                        .account = account,
                        .permissions = default_permissions};
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value, "Expected user entry to be a map/struct, got another type");
        return;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        bool flag = false;
        if (auth_key_is(item, "user username"))
            (void)auth_text(reader, item, &user.name);
        else if (auth_key_is(item, "pass password"))
            (void)auth_text(reader, item, &user.password);
        else if (auth_key_is(item, "permissions permission authorization"))
            user.permissions = auth_read_permissions(reader, item);
        else if (auth_key_is(item, "allowed_connection_types connection_types clients"))
            (void)read_connection_types(reader, item, &user);
        else if (auth_key_is(item, "proxy_required") && (!auth_bool(reader, item, &flag) || !flag))
            continue;
        else if (auth_key_is(item, "nkey proxy_required"))
            auth_refuse(reader, item, "users");
        else
            auth_unknown(reader, item);
    }
    if (user.name.count == 0) {
        auth_error(reader, value, "User entry requires a user");
        return;
    }
    for (uint32_t i = 0; i < reader->auth->user_count; i++) {
        if (bytes_equal(reader->auth->users[i].name, user.name)) {
            auth_error(reader, value, "Duplicate user \"%s\" detected", user.name.data);
            return;
        }
    }
    *add_user(reader) = user;
}

void auth_read_users(struct auth_reader *reader, const struct config_value *array, uint32_t account,
                     const struct permissions *default_permissions)
{
    if (array->type != CONFIG_ARRAY) {
        auth_error(reader, array, "Expected users field to be an array, got another type");
        return;
    }
    for (const struct config_value *item = array->first; item != NULL; item = item->next)
        read_user(reader, item, account, default_permissions);
}

/* ---- flags, and the whole ---- */

static void read_flags(struct auth_reader *reader, const struct options *options)
{
    struct auth *auth = reader->auth;
    if (options->auth_user[0] != '\0')
        auth->single = make_single(reader, bytes_of_text(options->auth_user),
                                   bytes_of_text(options->auth_password));
    if (options->auth_token[0] != '\0') {
        struct user *token =
            make_single(reader, (struct bytes){"", 0}, bytes_of_text(options->auth_token));
        token->is_token = true;
        auth->token = token;
    }
}

static int user_compare(const void *a, const void *b)
{
    const struct user *left = a, *right = b;
    return bytes_compare(left->name, right->name);
}

static void find_no_auth_user(struct auth_reader *reader, struct bytes name)
{
    struct auth *auth = reader->auth;
    auth->no_auth_user = auth_user(auth, name);
    if (auth->user_count == 0)
        text_append_format(reader->errors,
                           "no_auth_user: \"%s\" present, but users/nkeys are not defined\n",
                           name.data);
    else if (auth->no_auth_user == NULL)
        text_append_format(reader->errors,
                           "no_auth_user: \"%s\" not present as user or nkey in authorization "
                           "block or account configuration\n",
                           name.data);
}

static void find_system(struct auth_reader *reader, struct bytes name)
{
    uint32_t found = auth_find_account(reader->auth, name);
    if (found == ACCOUNT_NONE || found == ACCOUNT_GLOBAL)
        text_append_literal(reader->errors, "error resolving system account: account missing\n");
    else
        reader->auth->system = found;
}

static void note_kind(struct auth *auth, const struct user *user)
{
    if (user == NULL || user->password.count == 0)
        return;
    if (password_is_bcrypt(user->password))
        auth->has_bcrypt = true;
    else
        auth->has_plain = true;
}

/* Credentials are wanted as soon as there are any users; if all are the system's, the others need none. */
static void find_need(struct auth_reader *reader)
{
    struct auth *auth = reader->auth;
    bool is_system_only = auth->user_count > 0;
    for (uint32_t i = 0; i < auth->user_count; i++) {
        note_kind(auth, &auth->users[i]);
        if (auth->users[i].account != auth->system)
            is_system_only = false;
    }
    note_kind(auth, auth->single);
    note_kind(auth, auth->token);
    auth->is_required = auth->user_count > 0 || auth->single != NULL || auth->token != NULL;
    if (is_system_only && auth->no_auth_user == NULL && auth->single == NULL && auth->token == NULL)
        auth->anonymous = make_single(reader, BYTES_LITERAL("nats-anonym"), (struct bytes){"", 0});
}

static void finish(struct auth_reader *reader, const struct config_value *root)
{
    struct auth *auth = reader->auth;
    if (auth->user_count > 0)
        qsort(auth->users, auth->user_count, sizeof(struct user), user_compare);
    for (const struct config_value *value = root == NULL ? NULL : root->first; value != NULL;
         value = value->next) {
        struct bytes name;
        if (auth_key_is(value, "no_auth_user") && auth_text(reader, value, &name))
            find_no_auth_user(reader, name);
        if (auth_key_is(value, "system_account system") && auth_text(reader, value, &name))
            find_system(reader, name);
    }
    find_need(reader);
    for (uint32_t i = 0; i < auth->account_count; i++) {
        if (i != ACCOUNT_GLOBAL && i != ACCOUNT_SYSTEM && i != auth->system)
            auth->has_accounts = true;
    }
    auth->accounts[ACCOUNT_GLOBAL].has_jetstream = !auth->has_accounts;
    if (auth->accounts[auth->system].has_jetstream)
        text_append_literal(reader->errors,
                            "Not allowed to enable JetStream on the system account\n");
    auth_link_imports(reader);
}

/* ---- words ---- */

bool auth_key_is(const struct config_value *value, const char *names)
{
    return has_word(names, value->key);
}

void auth_error(struct auth_reader *reader, const struct config_value *value, const char *format,
                ...)
{
    char words[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments); /* cut if need be */
    va_end(arguments);
    text_append_format(reader->errors, "%s:%u:%u: %s\n", value->file, value->line, value->column,
                       words);
}

void auth_type_error(struct auth_reader *reader, const struct config_value *value,
                     const char *wanted)
{
    static const char *const words[] = {
        [CONFIG_MAP] = "map[string]interface {}",
        [CONFIG_ARRAY] = "[]interface {}",
        [CONFIG_STRING] = "string",
        [CONFIG_INTEGER] = "int64",
        [CONFIG_FLOAT] = "float64",
        [CONFIG_BOOL] = "bool",
        [CONFIG_DATE] = "time.Time",
    };
    auth_error(reader, value, "interface conversion: interface {} is %s, not %s",
               words[value->type], wanted);
}

void auth_unknown(struct auth_reader *reader, const struct config_value *value)
{
    if (!value->is_referenced)
        auth_error(reader, value, "unknown field \"%.*s\"", (int)value->key.count, value->key.data);
}

void auth_refuse(struct auth_reader *reader, const struct config_value *value, const char *where)
{
    auth_error(reader, value, "pail does not support '%s.%.*s' yet", where, (int)value->key.count,
               value->key.data);
}

bool auth_text(struct auth_reader *reader, const struct config_value *value, struct bytes *text_out)
{
    if (value->type != CONFIG_STRING) {
        auth_type_error(reader, value, "string");
        return false;
    }
    *text_out = auth_copy(reader->auth, value->text);
    return true;
}

bool auth_bool(struct auth_reader *reader, const struct config_value *value, bool *value_out)
{
    if (value->type != CONFIG_BOOL) {
        auth_type_error(reader, value, "bool");
        return false;
    }
    *value_out = value->truth;
    return true;
}

bool auth_integer(struct auth_reader *reader, const struct config_value *value, int64_t *number_out)
{
    if (value->type != CONFIG_INTEGER) {
        auth_type_error(reader, value, "int64");
        return false;
    }
    *number_out = value->integer;
    return true;
}
