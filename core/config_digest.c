/*
 * core/config_digest.c: a name for what a configuration file says, as nats-server makes it: SHA-256 of its values as compact
 * JSON, keys in order, and a newline.
 *
 * Runs on: the main thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"
#include "core/config.h"
#include "core/digest.h"

static void append_value(struct text *text, const struct config_value *value);
static void append_map(struct text *text, const struct config_value *map);
static void append_number(struct text *text, double number);
static int compare_keys(const void *a, const void *b);

void config_digest(const struct config *config, char digest_out[CONFIG_DIGEST_BYTES])
{
    struct text text = {0};
    unsigned char digest[DIGEST_SHA256_BYTES];
    append_map(&text, config_root(config));
    text_append_literal(&text, "\n");
    digest_sha256(text_bytes(&text), digest);
    text_free(&text);
    int count = snprintf(digest_out, CONFIG_DIGEST_BYTES, "sha256:");
    for (size_t i = 0; i < sizeof(digest); i++)
        count += snprintf(digest_out + count, CONFIG_DIGEST_BYTES - (size_t)count, "%02x",
                          (unsigned)digest[i]);
    ASSERT(count == CONFIG_DIGEST_BYTES - 1);
}

static void append_value(struct text *text, const struct config_value *value)
{
    const char *between = "";
    switch (value->type) {
    case CONFIG_MAP:
        append_map(text, value);
        break;
    case CONFIG_ARRAY:
        text_append_literal(text, "[");
        for (const struct config_value *each = value->first; each != NULL; each = each->next) {
            text_append_literal(text, between);
            append_value(text, each);
            between = ",";
        }
        text_append_literal(text, "]");
        break;
    case CONFIG_STRING:
    case CONFIG_DATE:
        text_append_json_string(text, value->text);
        break;
    case CONFIG_INTEGER:
        text_append_i64(text, value->integer);
        break;
    case CONFIG_FLOAT:
        append_number(text, value->number);
        break;
    case CONFIG_BOOL:
        text_append_literal(text, value->truth ? "true" : "false");
        break;
    }
}

static void append_map(struct text *text, const struct config_value *map)
{
    size_t count = 0;
    const char *between = "";
    for (const struct config_value *each = map->first; each != NULL; each = each->next)
        count++;
    const struct config_value **members = calloc(count + 1, sizeof(*members));
    ASSERT(members != NULL);
    count = 0;
    for (const struct config_value *each = map->first; each != NULL; each = each->next)
        members[count++] = each;
    if (count > 0)
        qsort(members, count, sizeof(*members), compare_keys);
    text_append_literal(text, "{");
    for (size_t i = 0; i < count; i++) {
        text_append_literal(text, between);
        text_append_json_string(text, members[i]->key);
        text_append_literal(text, ":");
        append_value(text, members[i]);
        between = ",";
    }
    text_append_literal(text, "}");
    free(members);
}

static int compare_keys(const void *a, const void *b)
{
    struct bytes first = (*(const struct config_value *const *)a)->key;
    struct bytes second = (*(const struct config_value *const *)b)->key;
    size_t common = first.count < second.count ? first.count : second.count;
    int order = common > 0 ? memcmp(first.data, second.data, common) : 0;
    if (order == 0)
        order = first.count < second.count ? -1 : first.count > second.count;
    return order;
}

/* As few digits as tell it. */
static void append_number(struct text *text, double number)
{
    char digits[512] = "";
    for (int precision = 0; precision <= 340; precision++) {
        (void)snprintf(digits, sizeof(digits), "%.*f", precision, number); /* it has the room */
        if (strtod(digits, NULL) >= number && strtod(digits, NULL) <= number)
            break;
    }
    text_append_literal(text, digits);
}
