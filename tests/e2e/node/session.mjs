// tests/e2e/node/session.mjs: the small Key/Value session with @nats-io/kv. Takes the URL and a
// bucket's name, prints ok and exits 0, or says what differs and exits 1. Its packages are found in
// a folder node_modules beside it: the driver runs a copy next to a link.
import assert from "node:assert/strict";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";

const [url, bucket] = process.argv.slice(2);
const text = (entry) => new TextDecoder().decode(entry.value);
const wrongSequence = (revision) => (error) =>
  error.code === 10071 && error.message.includes(`wrong last sequence: ${revision}`);

const nc = await connect({ servers: url });
const kvm = new Kvm(jetstream(nc));
const kv = await kvm.create(bucket, { history: 5 });
await kvm.create(bucket, { history: 5 });

// Values.
assert.equal(await kv.put("a", "one"), 1);
let entry = await kv.get("a");
assert.equal(text(entry), "one");
assert.equal(entry.revision, 1);
assert.equal(entry.operation, "PUT");
assert.equal(await kv.get("none"), null);

// Create and update.
await assert.rejects(kv.create("a", "x"), wrongSequence(1));
let revision = await kv.create("b", "two");
revision = await kv.update("b", "three", revision);
assert.equal(revision, 3);
await assert.rejects(kv.update("b", "x", revision - 1), wrongSequence(3));
assert.equal(text(await kv.get("b", { revision: 2 })), "two");

// Watch: what is there, then what comes.
const watch = await kv.watch();
const seen = watch[Symbol.asyncIterator]();
const expectNext = async (key, value, operation) => {
  const { value: entry } = await seen.next();
  assert.deepEqual([entry.key, text(entry), entry.operation], [key, value, operation]);
};
await expectNext("a", "one", "PUT");
await expectNext("b", "three", "PUT");
await kv.put("c", "four");
await expectNext("c", "four", "PUT");
await kv.delete("a");
await expectNext("a", "", "DEL");
await kv.purge("b");
await expectNext("b", "", "PURGE");
watch.stop();

// Deleted keys.
assert.equal((await kv.get("a")).operation, "DEL");
assert.equal(await kv.create("a", "again"), 7);
await assert.rejects(kv.delete("a", { previousSeq: 3 }), wrongSequence(7));

// Keys and history.
const collect = async (iterator) => {
  const all = [];
  for await (const item of iterator) all.push(item);
  return all;
};
assert.deepEqual((await collect(await kv.keys())).sort(), ["a", "c"]);
assert.deepEqual(await collect(await kv.keys("none")), []);
const history = await collect(await kv.history({ key: "a" }));
const steps = history.map((entry) => [entry.revision, entry.operation]);
assert.deepEqual(steps, [[1, "PUT"], [5, "DEL"], [7, "PUT"]]);
const purged = await collect(await kv.history({ key: "b" }));
assert.deepEqual(purged.map((entry) => entry.operation), ["PURGE"]);

// Many keys at once, not waiting for each other.
const puts = [];
for (let n = 0; n < 500; n++) puts.push(kv.put(`many.${n}`, new Uint8Array(n * 20)));
const revisions = await Promise.all(puts);
assert.deepEqual(revisions, Array.from({ length: 500 }, (_, n) => 8 + n));
assert.equal((await collect(await kv.keys())).length, 502);
assert.equal((await kv.get("many.499")).value.length, 499 * 20);

const status = await kv.status();
assert.deepEqual([status.bucket, status.history, status.values], [bucket, 5, 505]);

// A handle that was opened reads by STREAM.MSG.GET.
const opened = await kvm.open(bucket);
assert.equal(text(await opened.get("a")), "again");
assert.equal(await opened.get("none"), null);

assert.equal(await kv.destroy(), true);
const jsm = await jetstreamManager(nc);
await assert.rejects(jsm.streams.info(`KV_${bucket}`), /stream not found/);
await nc.close();
console.log("ok");
