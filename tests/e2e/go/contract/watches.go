package main

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// seen reads count updates of a watcher; the end of the initial values is shown as "|".
func (r *row) seen(watcher jetstream.KeyWatcher, count int) string {
	var got []string
	for len(got) < count {
		select {
		case entry := <-watcher.Updates():
			if entry == nil {
				got = append(got, "|")
				continue
			}
			word := fmt.Sprintf("%s=%s", entry.Key(), entry.Value())
			if entry.Operation() != jetstream.KeyValuePut {
				word = fmt.Sprintf("%s:%s", entry.Key(), strings.TrimPrefix(entry.Operation().String(), "KeyValue"))
			}
			got = append(got, word)
		case <-r.ctx.Done():
			check(false, "watch: only so much came", got)
		}
	}
	return strings.Join(got, " ")
}

// watched is a bucket with some past: a: 1 2, b: 3 deleted, c.x: 5, c.y: 6.
func (r *row) watched() jetstream.KeyValue {
	kv := r.create(jetstream.KeyValueConfig{History: 5})
	r.put(kv, "a", "1")
	r.put(kv, "a", "2")
	r.put(kv, "b", "3")
	no(kv.Delete(r.ctx, "b"), "delete")
	r.put(kv, "c.x", "5")
	r.put(kv, "c.y", "6")
	return kv
}

// watches: what a watch with these keys and options sees before and after another write to each key.
func watches(keys []string, wanted string, options ...jetstream.WatchOpt) func(*row) {
	return func(r *row) {
		kv := r.watched()
		watcher, err := kv.WatchFiltered(r.ctx, keys, options...)
		no(err, "watch")
		past, future, _ := strings.Cut(wanted, " then ")
		got := r.seen(watcher, len(strings.Fields(past)))
		check(got == past, "the past", got)
		for _, key := range []string{"a", "b", "c.x", "c.y"} {
			r.put(kv, key, "new")
		}
		no(kv.Purge(r.ctx, "a"), "purge")
		got = r.seen(watcher, len(strings.Fields(future)))
		check(got == future, "the future", got)
		no(watcher.Stop(), "stop")
	}
}

// watchRows: every form of a watch.
var watchRows = []namedRow{
	{"watch all", watches([]string{">"},
		"a=2 b:DeleteOp c.x=5 c.y=6 | then a=new b=new c.x=new c.y=new a:PurgeOp")},
	{"watch a key", watches([]string{"a"}, "a=2 | then a=new a:PurgeOp")},
	{"watch a key that does not exist", func(r *row) {
		kv := r.watched()
		watcher, err := kv.Watch(r.ctx, "none")
		no(err, "watch")
		check(r.seen(watcher, 1) == "|", "the end comes at once")
		r.put(kv, "none", "now")
		check(r.seen(watcher, 1) == "none=now", "the future")
	}},
	{"watch a pattern", watches([]string{"c.*"}, "c.x=5 c.y=6 | then c.x=new c.y=new")},
	{"watch several patterns", watches([]string{"a", "c.x"}, "a=2 c.x=5 | then a=new c.x=new a:PurgeOp")},
	{"watch with history", watches([]string{">"},
		"a=1 a=2 b=3 b:DeleteOp c.x=5 c.y=6 | then a=new b=new c.x=new c.y=new a:PurgeOp",
		jetstream.IncludeHistory())},
	{"watch updates only", watches([]string{">"}, " then a=new b=new c.x=new c.y=new a:PurgeOp",
		jetstream.UpdatesOnly())},
	{"watch without deletes", watches([]string{">"},
		"a=2 c.x=5 c.y=6 | then a=new b=new c.x=new c.y=new", jetstream.IgnoreDeletes())},
	{"watch without values", watches([]string{">"},
		"a= b:DeleteOp c.x= c.y= | then a= b= c.x= c.y= a:PurgeOp", jetstream.MetaOnly())},
	{"watch from a revision", watches([]string{">"},
		"b=3 b:DeleteOp c.x=5 c.y=6 | then a=new b=new c.x=new c.y=new a:PurgeOp",
		jetstream.ResumeFromRevision(3))},
	{"a watch lives through a lost connection", func(r *row) {
		kv := r.watched()
		other, err := nats.Connect(r.nc.ConnectedUrl(), nats.ReconnectWait(0))
		no(err, "connect")
		defer other.Close()
		js, err := jetstream.New(other)
		no(err, "jetstream")
		same, err := js.KeyValue(r.ctx, r.bucket)
		no(err, "bind")
		watcher, err := same.WatchAll(r.ctx)
		no(err, "watch")
		check(r.seen(watcher, 5) == "a=2 b:DeleteOp c.x=5 c.y=6 |", "the past")
		no(other.ForceReconnect(), "reconnect")
		for n := 0; n < 20; n++ {
			r.put(kv, "after", fmt.Sprint(n))
		}
		// What was superseded while nobody listened may be left out, nothing may come twice or out of order.
		last := -1
		for last < 19 {
			var n int
			_, err = fmt.Sscanf(r.seen(watcher, 1), "after=%d", &n)
			no(err, "watch")
			check(n > last, "order", n, last)
			last = n
		}
	}},
	{"a watch of many keys ends once", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		const count = 3000
		for n := 0; n < count; n++ {
			_, err := r.js.PublishAsync(fmt.Sprintf("$KV.%s.k.%d", r.bucket, n), []byte("v"))
			no(err, "publish")
		}
		<-r.js.PublishAsyncComplete()
		watcher, err := kv.WatchAll(r.ctx)
		no(err, "watch")
		for n := 0; n < count; n++ {
			entry := <-watcher.Updates()
			check(entry != nil && entry.Revision() == uint64(n+1) && entry.Delta() == uint64(count-n-1),
				"entry", n, entry)
		}
		check(<-watcher.Updates() == nil, "the end")
		r.put(kv, "one", "more")
		check(r.seen(watcher, 1) == "one=more", "the future")
	}},
}
