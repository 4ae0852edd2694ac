// tests/e2e/node/websocket.mjs: a bucket over WebSocket, as a browser's client has it: wsconnect of @nats-io/nats-core.
// Takes the URL, prints all done and exits 0, or says what differs and exits 1. Runs as session.mjs does.
import assert from "node:assert/strict";
import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { wsconnect } from "@nats-io/nats-core";

const nc = await wsconnect({ servers: process.argv[2] });
const kv = await new Kvm(jetstream(nc)).create("ws", { history: 3 });
const watch = await kv.watch();
const seen = [];
const watching = (async () => {
  for await (const entry of watch) {
    seen.push([entry.key, entry.length]);
    if (seen.length === 51) {
      break;
    }
  }
})();
for (let i = 0; i < 50; i++) {
  await kv.put(`key.${i}`, new Uint8Array(i * 1000));
}
assert.equal((await kv.get("key.49")).length, 49000);
await kv.delete("key.0");
await watching;
assert.deepEqual(seen.slice(0, 50), Array.from({ length: 50 }, (_, i) => [`key.${i}`, i * 1000]));
assert.equal(seen[50][0], "key.0");
const big = new Uint8Array(1000000).fill(7);
await kv.put("big", big);
assert.deepEqual((await kv.get("big")).value, big);
await nc.close();
console.log("all done");
