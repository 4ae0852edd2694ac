"""
tests/e2e/python/session.py: the small Key/Value session with nats-py. Takes the URL and a bucket's
name, prints ok and exits 0. Its package is found by PYTHONPATH.
"""

import asyncio
import sys

import nats
from nats.js.api import KeyValueConfig
from nats.js.errors import (BucketNotFoundError, KeyDeletedError, KeyNotFoundError,
                            KeyWrongLastSequenceError)


def check(holds, *what):
    if not holds:
        print("failed:", *what)
        sys.exit(1)


async def fails(awaitable, *kinds):
    try:
        result = await awaitable
    except kinds as error:
        return error
    check(False, "no error", kinds, result)


async def main():
    url, bucket = sys.argv[1:]
    nc = await nats.connect(url)
    js = nc.jetstream()
    await fails(js.key_value(bucket), BucketNotFoundError)
    kv = await js.create_key_value(config=KeyValueConfig(bucket=bucket, history=5))
    await js.create_key_value(config=KeyValueConfig(bucket=bucket, history=5))

    # Values.
    check(await kv.put("a", b"one") == 1, "put")
    entry = await kv.get("a")
    check((entry.value, entry.revision) == (b"one", 1), "get", entry)
    await fails(kv.get("none"), KeyNotFoundError)

    # Create and update.
    error = await fails(kv.create("a", b"x"), KeyWrongLastSequenceError)
    check("wrong last sequence: 1" in str(error), error)
    revision = await kv.create("b", b"two")
    revision = await kv.update("b", b"three", last=revision)
    check(revision == 3, "update", revision)
    error = await fails(kv.update("b", b"x", last=revision - 1), KeyWrongLastSequenceError)
    check("wrong last sequence: 3" in str(error), error)
    check((await kv.get("b", revision=2)).value == b"two", "get revision")

    # Watch: what is there, None at its end, then what comes.
    watcher = await kv.watchall()

    async def expect(key, value, operation):
        entry = await watcher.updates(timeout=10)
        check((entry.key, entry.value or b"", entry.operation) == (key, value, operation), entry)

    await expect("a", b"one", None)
    await expect("b", b"three", None)
    check(await watcher.updates(timeout=10) is None, "end of the initial values")
    await kv.put("c", b"four")
    await expect("c", b"four", None)
    await kv.delete("a")
    await expect("a", b"", "DEL")
    await kv.purge("b")
    await expect("b", b"", "PURGE")
    await watcher.stop()

    # Deleted keys.
    await fails(kv.get("a"), KeyDeletedError, KeyNotFoundError)
    check(await kv.create("a", b"again") == 7, "create over a delete marker")

    # Keys and history.
    check(sorted(await kv.keys()) == ["a", "c"], "keys")
    history = await kv.history("a")
    check([(e.revision, e.operation) for e in history] == [(1, None), (5, "DEL"), (7, None)],
          "history", history)

    # Many keys at once, not waiting for each other.
    revisions = await asyncio.gather(*(kv.put("many.%d" % n, b"x" * n * 20) for n in range(500)))
    check(revisions == list(range(8, 508)), "revisions", revisions)
    check(len(await kv.keys()) == 502, "number of keys")
    check(len((await kv.get("many.499")).value) == 499 * 20, "a large value")
    status = await kv.status()
    check((status.bucket, status.history, status.values) == (bucket, 5, 505), "status", status)
    await kv.purge_deletes(olderthan=-1)
    check((await kv.status()).values == 504, "purge deletes")
    check(await js.delete_key_value(bucket), "delete bucket")
    await fails(js.key_value(bucket), BucketNotFoundError)
    await nc.close()
    print("ok")


asyncio.run(asyncio.wait_for(main(), 60))
