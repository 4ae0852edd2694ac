// tests/e2e/go/contract: the rows of the Key/Value contract as nats.go shows them. Takes the URL and, if only some rows are
// wanted, a part of their names; prints a line for each row, and exits 1 if one failed. A server of anybody must pass it.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const rowSeconds = 30

// row is what a single row has: a connection, a context that ends it, and a bucket name of its own.
type row struct {
	ctx    context.Context
	nc     *nats.Conn
	js     jetstream.JetStream
	bucket string
}

// failure is what check panics with.
type failure string

func check(holds bool, what string, values ...any) {
	if !holds {
		panic(failure(fmt.Sprintf("%s %+v", what, values)))
	}
}

func no(err error, what string) { check(err == nil, what, err) }

// has: the error is there, and its text has all of these.
func has(err error, texts ...string) {
	check(err != nil, "no error, wanted", texts)
	for _, text := range texts {
		check(strings.Contains(err.Error(), text), "the error", err, "wanted", text)
	}
}

func (r *row) create(config jetstream.KeyValueConfig) jetstream.KeyValue {
	if config.Bucket == "" {
		config.Bucket = r.bucket
	}
	kv, err := r.js.CreateKeyValue(r.ctx, config)
	no(err, "create "+config.Bucket)
	return kv
}

func (r *row) put(kv jetstream.KeyValue, key, value string) uint64 {
	revision, err := kv.PutString(r.ctx, key, value)
	no(err, "put "+key)
	return revision
}

func (r *row) value(kv jetstream.KeyValue, key string) string {
	entry, err := kv.Get(r.ctx, key)
	no(err, "get "+key)
	return string(entry.Value())
}

// eventually asks until the condition holds; the row's time is the limit.
func (r *row) eventually(what string, holds func() bool) {
	for !holds() {
		check(r.ctx.Err() == nil, "never came true: "+what)
		time.Sleep(20 * time.Millisecond)
	}
}

// run tells what went wrong, "" for nothing.
func (r *row) run(test func(*row)) (wrong string) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case failure:
			wrong = string(reason)
		default:
			wrong = fmt.Sprintf("%v\n%s", reason, debug.Stack())
		}
	}()
	test(r)
	return ""
}

func main() {
	if len(os.Args) < 2 {
		fmt.Println("usage: contract <url> [<part of a row's name>]")
		os.Exit(2)
	}
	nc, err := nats.Connect(os.Args[1])
	if err != nil {
		fmt.Println("connect:", err)
		os.Exit(1)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		fmt.Println("jetstream:", err)
		os.Exit(1)
	}
	failed := 0
	rows := append(append(bucketRows, keyRows...), append(watchRows, linkRows...)...)
	for index, test := range rows {
		if len(os.Args) > 2 && !strings.Contains(test.name, os.Args[2]) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), rowSeconds*time.Second)
		r := &row{ctx: ctx, nc: nc, js: js, bucket: fmt.Sprintf("row%d", index)}
		wrong := r.run(test.run)
		cancel()
		if wrong != "" {
			failed++
			fmt.Printf("failed: %s: %s\n", test.name, wrong)
		} else {
			fmt.Println("ok:", test.name)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}

type namedRow struct {
	name string
	run  func(*row)
}
