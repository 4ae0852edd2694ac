/*
 * tests/e2e/c/session.c: the small Key/Value session with libnats. Takes the URL and a bucket's
 * name, prints ok and exits 0, or says what differs and exits 1.
 */
#include <nats/nats.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) check((condition), #condition, __LINE__)
#define NO_ERROR(call) check_status((call), NATS_OK, #call, __LINE__)
#define FAILS(status, call) check_status((call), (status), #call, __LINE__)

static const int64_t wait_ms = 10000;

static void check(bool holds, const char *what, int line)
{
    if (holds)
        return;
    printf("failed: line %d: %s\n", line, what);
    exit(1);
}

static void check_status(natsStatus got, natsStatus wanted, const char *what, int line)
{
    if (got == wanted)
        return;
    printf("failed: line %d: %s: %s, %s\n", line, what, natsStatus_GetText(got),
           nats_GetLastError(NULL));
    exit(1);
}

static bool last_error_has(const char *text)
{
    return strstr(nats_GetLastError(NULL), text) != NULL;
}

static bool entry_is(kvEntry *entry, const char *key, const char *value, kvOperation operation)
{
    int length = kvEntry_ValueLen(entry);
    return strcmp(kvEntry_Key(entry), key) == 0 && length == (int)strlen(value)
           && memcmp(kvEntry_Value(entry), value, (size_t)length) == 0
           && kvEntry_Operation(entry) == operation;
}

static void expect_next(kvWatcher *watcher, const char *key, const char *value,
                        kvOperation operation)
{
    kvEntry *entry = NULL;
    NO_ERROR(kvWatcher_Next(&entry, watcher, wait_ms));
    CHECK(entry != NULL && entry_is(entry, key, value, operation));
    kvEntry_Destroy(entry);
}

static int key_count(kvStore *kv)
{
    kvKeysList keys;
    NO_ERROR(kvStore_Keys(&keys, kv, NULL));
    int count = keys.Count;
    kvKeysList_Destroy(&keys);
    return count;
}

static void values(kvStore *kv)
{
    uint64_t revision = 0;
    kvEntry *entry = NULL;
    NO_ERROR(kvStore_PutString(&revision, kv, "a", "one"));
    CHECK(revision == 1);
    NO_ERROR(kvStore_Get(&entry, kv, "a"));
    CHECK(entry_is(entry, "a", "one", kvOp_Put) && kvEntry_Revision(entry) == 1);
    kvEntry_Destroy(entry);
    FAILS(NATS_NOT_FOUND, kvStore_Get(&entry, kv, "none"));

    FAILS(NATS_ERR, kvStore_CreateString(&revision, kv, "a", "x"));
    CHECK(last_error_has("wrong last sequence: 1"));
    NO_ERROR(kvStore_CreateString(&revision, kv, "b", "two"));
    NO_ERROR(kvStore_UpdateString(&revision, kv, "b", "three", revision));
    CHECK(revision == 3);
    uint64_t stale = revision - 1;
    FAILS(NATS_ERR, kvStore_UpdateString(&revision, kv, "b", "x", stale));
    CHECK(last_error_has("wrong last sequence: 3"));
    NO_ERROR(kvStore_GetRevision(&entry, kv, "b", 2));
    CHECK(entry_is(entry, "b", "two", kvOp_Put));
    kvEntry_Destroy(entry);
}

static void watch(kvStore *kv)
{
    kvWatcher *watcher = NULL;
    kvEntry *entry = NULL;
    NO_ERROR(kvStore_WatchAll(&watcher, kv, NULL));
    expect_next(watcher, "a", "one", kvOp_Put);
    expect_next(watcher, "b", "three", kvOp_Put);
    NO_ERROR(kvWatcher_Next(&entry, watcher, wait_ms));
    CHECK(entry == NULL); /* the end of the initial values */
    NO_ERROR(kvStore_PutString(NULL, kv, "c", "four"));
    expect_next(watcher, "c", "four", kvOp_Put);
    NO_ERROR(kvStore_Delete(kv, "a"));
    expect_next(watcher, "a", "", kvOp_Delete);
    NO_ERROR(kvStore_Purge(kv, "b", NULL));
    expect_next(watcher, "b", "", kvOp_Purge);
    NO_ERROR(kvWatcher_Stop(watcher));
    kvWatcher_Destroy(watcher);
}

static void deleted_keys_and_history(kvStore *kv)
{
    uint64_t revision = 0;
    kvEntry *entry = NULL;
    kvEntryList history;
    FAILS(NATS_NOT_FOUND, kvStore_Get(&entry, kv, "a"));
    NO_ERROR(kvStore_CreateString(&revision, kv, "a", "again"));
    CHECK(revision == 7);
    CHECK(key_count(kv) == 2);
    NO_ERROR(kvStore_History(&history, kv, "a", NULL));
    CHECK(history.Count == 3 && entry_is(history.Entries[0], "a", "one", kvOp_Put)
          && entry_is(history.Entries[1], "a", "", kvOp_Delete)
          && kvEntry_Revision(history.Entries[2]) == 7);
    kvEntryList_Destroy(&history);
}

static void many_keys(kvStore *kv, const char *bucket)
{
    char key[32];
    static char value[10000];
    kvEntry *entry = NULL;
    kvStatus *status = NULL;
    for (int i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof(key), "many.%d", i);
        NO_ERROR(kvStore_Put(NULL, kv, key, value, i * 20));
    }
    CHECK(key_count(kv) == 502);
    NO_ERROR(kvStore_Get(&entry, kv, "many.499"));
    CHECK(kvEntry_ValueLen(entry) == 499 * 20);
    kvEntry_Destroy(entry);
    NO_ERROR(kvStore_Status(&status, kv));
    CHECK(strcmp(kvStatus_Bucket(status), bucket) == 0 && kvStatus_History(status) == 5
          && kvStatus_Values(status) == 505);
    kvStatus_Destroy(status);

    kvPurgeOptions options;
    NO_ERROR(kvPurgeOptions_Init(&options));
    options.DeleteMarkersOlderThan = -1;
    NO_ERROR(kvStore_PurgeDeletes(kv, &options));
    NO_ERROR(kvStore_Status(&status, kv));
    CHECK(kvStatus_Values(status) == 504);
    kvStatus_Destroy(status);
}

int main(int argc, char **argv)
{
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    kvStore *kv = NULL;
    kvConfig config;
    CHECK(argc == 3);
    NO_ERROR(natsConnection_ConnectTo(&connection, argv[1]));
    NO_ERROR(natsConnection_JetStream(&js, connection, NULL));
    FAILS(NATS_NOT_FOUND, js_KeyValue(&kv, js, argv[2]));
    NO_ERROR(kvConfig_Init(&config));
    config.Bucket = argv[2];
    config.History = 5;
    NO_ERROR(js_CreateKeyValue(&kv, js, &config));

    values(kv);
    watch(kv);
    deleted_keys_and_history(kv);
    many_keys(kv, argv[2]);

    kvStore_Destroy(kv);
    NO_ERROR(js_DeleteKeyValue(js, argv[2]));
    FAILS(NATS_NOT_FOUND, js_KeyValue(&kv, js, argv[2]));
    jsCtx_Destroy(js);
    natsConnection_Close(connection);
    natsConnection_Destroy(connection);
    nats_Close();
    printf("ok\n");
    return 0;
}
