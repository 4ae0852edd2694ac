/*
 * core/auth_permissions.c: lists of subjects that a user may publish and subscribe to.
 *
 * Runs on: the main thread.
 */
#include <ctype.h>
#include <string.h>

#include "core/auth_reader.h"
#include "core/subject.h"

static const int64_t RESPONSES_NS = 120 * INT64_C(1000000000);

/* "subject", or "subject queue". */
static bool read_rule(struct auth_reader *reader, const struct config_value *value,
                      struct rule *rule)
{
    struct bytes text;
    if (!auth_text(reader, value, &text))
        return false;
    *rule = (struct rule){.subject = text};
    if (subject_is_valid(text))
        return true;
    struct bytes words[2] = {{NULL, 0}, {NULL, 0}};
    unsigned count = 0;
    for (size_t at = 0; at < text.count; count++) {
        while (at < text.count && isspace((unsigned char)text.data[at]))
            at++;
        size_t start = at;
        while (at < text.count && !isspace((unsigned char)text.data[at]))
            at++;
        if (at == start)
            break;
        if (count < 2)
            words[count] = bytes_of(text.data + start, at - start);
    }
    if (count == 2 && subject_is_valid(words[0])) {
        *rule = (struct rule){words[0], words[1]};
        return true;
    }
    text_append_format(reader->errors, "subject \"%s\" is not a valid subject\n", text.data);
    return false;
}

/* A text or an array of texts. */
static bool read_rules(struct auth_reader *reader, const struct config_value *value,
                       struct rules *rules)
{
    uint32_t count = 0;
    if (value->type != CONFIG_ARRAY && value->type != CONFIG_STRING) {
        auth_error(reader, value,
                   "Expected subject permissions to be a subject, or array of "
                   "subjects, got a value of another type");
        return false;
    }
    const struct config_value *first = value->type == CONFIG_ARRAY ? value->first : value;
    for (const struct config_value *item = first; item != NULL;
         item = value->type == CONFIG_ARRAY ? item->next : NULL)
        count++;
    *rules = (struct rules){.is_given = count > 0};
    if (count == 0)
        return true; /* as if it were not there */
    rules->items = auth_alloc(reader->auth, count * sizeof(struct rule));
    for (const struct config_value *item = first; rules->count < count; item = item->next) {
        if (!read_rule(reader, item, &rules->items[rules->count++]))
            return false;
    }
    return true;
}

static bool read_direction(struct auth_reader *reader, const struct config_value *value,
                           struct rules *allow, struct rules *deny)
{
    bool is_good = true;
    if (value->type != CONFIG_MAP)
        return read_rules(reader, value, allow);
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        if (auth_key_is(item, "allow")) {
            is_good = read_rules(reader, item, allow) && is_good;
        } else if (auth_key_is(item, "deny")) {
            is_good = read_rules(reader, item, deny) && is_good;
        } else if (!item->is_referenced) {
            auth_error(reader, item,
                       "Unknown field name \"%.*s\" parsing subject permissions, only 'allow' or "
                       "'deny' are permitted",
                       (int)item->key.count, item->key.data);
            is_good = false;
        }
    }
    return is_good;
}

static bool read_responses(struct auth_reader *reader, const struct config_value *value,
                           struct permissions *permissions)
{
    permissions->responses_max = 1;
    permissions->responses_ns = RESPONSES_NS;
    if (value->type == CONFIG_BOOL) {
        permissions->has_responses = value->truth;
        return true;
    }
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value,
                   "error parsing response permissions, expected a boolean or a map");
        return false;
    }
    permissions->has_responses = true;
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        int64_t number = 0;
        if (auth_key_is(item, "max max_msgs max_messages max_responses")) {
            if (!auth_integer(reader, item, &number))
                return false;
            if (number != 0)
                permissions->responses_max = number;
        } else if (auth_key_is(item, "expires expiration ttl")) {
            if (item->type != CONFIG_STRING) {
                auth_error(reader, item, "error parsing expires, not a duration string");
                return false;
            }
            if (!text_parse_duration(item->text, &number)) {
                auth_error(reader, item, "error parsing expires: time: invalid duration \"%s\"",
                           item->text.data);
                return false;
            }
            if (number != 0)
                permissions->responses_ns = number;
        } else if (!item->is_referenced) {
            auth_error(reader, item, "Unknown field \"%.*s\" parsing permissions",
                       (int)item->key.count, item->key.data);
            return false;
        }
    }
    return true;
}

const struct permissions *auth_read_permissions(struct auth_reader *reader,
                                                const struct config_value *value)
{
    struct permissions *permissions = auth_alloc(reader->auth, sizeof(*permissions));
    bool is_good = true;
    if (value->type != CONFIG_MAP) {
        auth_error(reader, value, "Expected permissions to be a map/struct, got another type");
        return NULL;
    }
    for (const struct config_value *item = value->first; item != NULL; item = item->next) {
        if (auth_key_is(item, "publish pub import")) {
            is_good = read_direction(reader, item, &permissions->publish_allow,
                                     &permissions->publish_deny)
                      && is_good;
        } else if (auth_key_is(item, "subscribe sub export")) {
            is_good = read_direction(reader, item, &permissions->subscribe_allow,
                                     &permissions->subscribe_deny)
                      && is_good;
        } else if (auth_key_is(item, "publish_allow_responses allow_responses")) {
            is_good = read_responses(reader, item, permissions) && is_good;
        } else if (!item->is_referenced) {
            auth_error(reader, item, "Unknown field \"%.*s\" parsing permissions",
                       (int)item->key.count, item->key.data);
            is_good = false;
        }
    }
    /* Whoever may answer may publish nothing else, unless that is said. */
    if (permissions->has_responses)
        permissions->publish_allow.is_given = true;
    return is_good ? permissions : NULL;
}
