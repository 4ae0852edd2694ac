package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// linkRows: buckets that are tied to others, and what the stream below a bucket is used for.
var linkRows = []namedRow{
	{"republish", func(r *row) {
		told, err := r.nc.SubscribeSync("told." + r.bucket + ".>")
		no(err, "subscribe")
		kv := r.create(jetstream.KeyValueConfig{RePublish: &jetstream.RePublish{
			Source: "$KV." + r.bucket + ".>", Destination: "told." + r.bucket + ".>"}})
		for n, value := range []string{"one", "two"} {
			r.put(kv, "a.b", value)
			msg, err := told.NextMsgWithContext(r.ctx)
			no(err, "next")
			check(msg.Subject == "told."+r.bucket+".a.b" && string(msg.Data) == value, "message", msg)
			check(msg.Header.Get("Nats-Stream") == "KV_"+r.bucket &&
				msg.Header.Get("Nats-Subject") == "$KV."+r.bucket+".a.b" &&
				msg.Header.Get("Nats-Sequence") == fmt.Sprint(n+1) &&
				msg.Header.Get("Nats-Last-Sequence") == fmt.Sprint(n), "headers", msg.Header)
		}
	}},
	{"a mirror", func(r *row) {
		origin := r.create(jetstream.KeyValueConfig{Bucket: r.bucket + "o", History: 3})
		r.put(origin, "a", "1")
		r.put(origin, "a", "2")
		mirror := r.create(jetstream.KeyValueConfig{History: 3,
			Mirror: &jetstream.StreamSource{Name: r.bucket + "o"}})
		r.put(mirror, "b", "through the mirror") // goes to the origin
		check(r.value(origin, "b") == "through the mirror", "the origin")
		state := func() jetstream.StreamState {
			stream, err := r.js.Stream(r.ctx, "KV_"+r.bucket)
			no(err, "stream")
			info, err := stream.Info(r.ctx)
			no(err, "info")
			check(info.Mirror != nil && info.Mirror.Name == "KV_"+r.bucket+"o", "mirror info", info.Mirror)
			return info.State
		}
		r.eventually("the mirror follows", func() bool { return state().LastSeq == 3 })
		check(state().Msgs == 3 && state().FirstSeq == 1, "state", state())
	}},
	{"a source", func(r *row) {
		one := r.create(jetstream.KeyValueConfig{Bucket: r.bucket + "one"})
		two := r.create(jetstream.KeyValueConfig{Bucket: r.bucket + "two"})
		r.put(one, "a", "1")
		r.put(two, "b", "2")
		kv := r.create(jetstream.KeyValueConfig{Sources: []*jetstream.StreamSource{
			{Name: r.bucket + "one"}, {Name: r.bucket + "two"}}})
		r.put(one, "c", "3")
		for key, value := range map[string]string{"a": "1", "b": "2", "c": "3"} {
			r.eventually("the bucket has "+key, func() bool {
				entry, err := kv.Get(r.ctx, key)
				return err == nil && string(entry.Value()) == value
			})
		}
		r.put(kv, "own", "4")
		check(r.value(kv, "own") == "4", "a key of its own")
		_, err := one.Get(r.ctx, "own")
		check(errors.Is(err, jetstream.ErrKeyNotFound), "the source is left alone", err)
	}},
	{"message ids", func(r *row) {
		r.create(jetstream.KeyValueConfig{History: 5})
		publish := func(id, key string) *jetstream.PubAck {
			ack, err := r.js.Publish(r.ctx, "$KV."+r.bucket+"."+key, []byte("v"), jetstream.WithMsgID(id))
			no(err, "publish")
			return ack
		}
		check(!publish("x", "a").Duplicate, "the first")
		again := publish("x", "b")
		check(again.Duplicate && again.Sequence == 1, "the second", again)
		check(publish("y", "a").Sequence == 2, "another id")
	}},
	{"the stream below a bucket", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 5})
		for _, key := range []string{"a", "b", "a"} {
			r.put(kv, key, "v")
		}
		stream, err := r.js.Stream(r.ctx, "KV_"+r.bucket)
		no(err, "stream")
		info, err := stream.Info(r.ctx, jetstream.WithSubjectFilter("$KV."+r.bucket+".*"))
		no(err, "info")
		check(len(info.State.Subjects) == 2 && info.State.Subjects["$KV."+r.bucket+".a"] == 2 &&
			info.State.Msgs == 3 && info.State.NumSubjects == 2, "state", info.State)
		check(info.Config.AllowDirect && info.Config.DenyDelete && info.Config.AllowRollup &&
			info.Config.Discard == jetstream.DiscardNew, "config", info.Config)
		msg, err := stream.GetLastMsgForSubject(r.ctx, "$KV."+r.bucket+".a")
		no(err, "last")
		check(msg.Sequence == 3, "last", msg)
		msg, err = stream.GetMsg(r.ctx, 2)
		no(err, "get")
		check(msg.Subject == "$KV."+r.bucket+".b", "get", msg)
		err = stream.DeleteMsg(r.ctx, 2)
		has(err, "message delete not permitted")
		no(stream.Purge(r.ctx, jetstream.WithPurgeSubject("$KV."+r.bucket+".a"), jetstream.WithPurgeKeep(1)),
			"purge")
		info, err = stream.Info(r.ctx)
		no(err, "info")
		check(info.State.Msgs == 2, "state", info.State)
	}},
	{"the older package", func(r *row) {
		js, err := r.nc.JetStream()
		no(err, "jetstream")
		kv, err := js.CreateKeyValue(&nats.KeyValueConfig{Bucket: r.bucket, History: 2})
		no(err, "create")
		_, err = kv.Create("k", []byte("1"))
		no(err, "create")
		_, err = kv.Create("k", []byte("2"))
		check(errors.Is(err, nats.ErrKeyExists), "again", err)
		watcher, err := kv.WatchAll()
		no(err, "watch")
		entry := <-watcher.Updates()
		check(entry != nil && entry.Key() == "k", "watch", entry)
		check(<-watcher.Updates() == nil, "the end")
		no(watcher.Stop(), "stop")
		keys, err := kv.Keys()
		no(err, "keys")
		check(len(keys) == 1 && keys[0] == "k", "keys", keys)
		no(kv.Delete("k"), "delete")
		_, err = kv.Get("k")
		check(errors.Is(err, nats.ErrKeyNotFound), "get", err)
		status, err := kv.Status()
		no(err, "status")
		check(status.Values() == 2 && status.TTL() == 0*time.Second, "status", status)
		no(js.DeleteKeyValue(r.bucket), "delete")
	}},
	{"the account", func(r *row) {
		r.create(jetstream.KeyValueConfig{})
		info, err := r.js.AccountInfo(r.ctx)
		no(err, "account info")
		check(info.Streams > 0 && info.API.Total > 0 && info.API.Level > 0 && info.Limits.MaxStreams == -1, "account", info)
	}},
}
