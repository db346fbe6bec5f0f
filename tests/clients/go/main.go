// The checks of tests/clients/README.md with the public client nats.go, unchanged.
//
// Usage: nats-go HOST:PORT (or NATS_ADDRESS). One line a check: "ok NAME" or "FAIL NAME: why". Exit 1 when one failed.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// How long anything that must happen may take.
	limit = 10 * time.Second
	// How long to wait for something that must not happen.
	quiet = 200 * time.Millisecond
)

var (
	address string
	// Files for TLS; without them connections are plain.
	authority, certificate, key = os.Getenv("NATS_CA"), os.Getenv("NATS_CERT"), os.Getenv("NATS_KEY")
	stdin                       = bufio.NewReader(os.Stdin)
)

// connect opens a connection; close it with the returned connection's Close.
func connect(options ...nats.Option) (*nats.Conn, error) {
	if authority != "" {
		options = append(options, nats.RootCAs(authority), nats.ClientCert(certificate, key))
	}
	nc, err := nats.Connect("nats://"+address, options...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return nc, nil
}

// control asks the harness to do something to the server and waits until it is done.
func control(what string) error {
	fmt.Println("control", what)
	answer, err := stdin.ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "done" {
		return fmt.Errorf("control %s: answer %q, %v", what, answer, err)
	}
	return nil
}

// expect takes the next message and compares its payload.
func expect(sub *nats.Subscription, payload string) error {
	m, err := sub.NextMsg(limit)
	if err != nil {
		return fmt.Errorf("waiting for %q: %w", payload, err)
	}
	if string(m.Data) != payload {
		return fmt.Errorf("got %q, wanted %q", m.Data, payload)
	}
	return nil
}

// expectNone fails when a message comes.
func expectNone(sub *nats.Subscription) error {
	if m, err := sub.NextMsg(quiet); err == nil {
		return fmt.Errorf("unexpected message %q on %s", m.Data, m.Subject)
	}
	return nil
}

// eventually waits for a condition.
func eventually(what string, condition func() bool) error {
	for end := time.Now().Add(limit); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %s", limit, what)
		}
	}
	return nil
}

func main() {
	address = os.Getenv("NATS_ADDRESS")
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if address == "" {
		fmt.Fprintln(os.Stderr, "usage: nats-go HOST:PORT")
		os.Exit(2)
	}
	failed := false
	for _, check := range checks {
		if err := check.run(); err != nil {
			failed = true
			fmt.Printf("FAIL %s: %s\n", check.name, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok", check.name)
		}
	}
	if failed {
		os.Exit(1)
	}
}
