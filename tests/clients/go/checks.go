package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

var checks = []struct {
	name string
	run  func() error
}{
	{"publish_subscribe", publishSubscribe},
	{"wildcards", wildcards},
	{"request_reply", requestReply},
	{"no_responders", noResponders},
	{"queue_groups", queueGroups},
	{"headers", headers},
	{"no_headers_peer", noHeadersPeer},
	{"max_payload", maxPayload},
	{"unsubscribe", unsubscribe},
	{"unsubscribe_max", unsubscribeMax},
	{"drain", drain},
	{"flush", flush},
	{"no_echo", noEcho},
	{"verbose", verbose},
	{"many", many},
	{"reconnect", reconnect},
	{"log_to_subscribers", logToSubscribers},
	{"log_flush", logFlush},
	{"log_ack", logAck},
}

func publishSubscribe() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.one")
	if err != nil {
		return err
	}
	for _, payload := range []string{"hello", "", "a\r\nb\x00\xff"} {
		if err := nc.Publish("clients.one", []byte(payload)); err != nil {
			return err
		}
		if err := expect(sub, payload); err != nil {
			return err
		}
	}
	if err := nc.Publish("clients.other", nil); err != nil {
		return err
	}
	return expectNone(sub)
}

func wildcards() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	star, err := nc.SubscribeSync("clients.*.b")
	if err != nil {
		return err
	}
	rest, err := nc.SubscribeSync("clients.a.>")
	if err != nil {
		return err
	}
	for _, subject := range []string{"clients.a.b", "clients.x.b", "clients.a.c.d", "clients.a", "clients.a.x.b"} {
		if err := nc.Publish(subject, []byte(subject)); err != nil {
			return err
		}
	}
	for _, wanted := range []string{"clients.a.b", "clients.x.b"} {
		if err := expect(star, wanted); err != nil {
			return err
		}
	}
	for _, wanted := range []string{"clients.a.b", "clients.a.c.d", "clients.a.x.b"} {
		if err := expect(rest, wanted); err != nil {
			return err
		}
	}
	return errors.Join(expectNone(star), expectNone(rest))
}

func requestReply() error {
	server, err := connect()
	if err != nil {
		return err
	}
	defer server.Close()
	if _, err := server.Subscribe("clients.double", func(m *nats.Msg) {
		_ = m.Respond(append(m.Data, m.Data...))
	}); err != nil {
		return err
	}
	if err := server.Flush(); err != nil {
		return err
	}
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	for i := range 100 {
		text := fmt.Sprint(i)
		m, err := nc.Request("clients.double", []byte(text), limit)
		if err != nil {
			return err
		}
		if string(m.Data) != text+text {
			return fmt.Errorf("request %s: answer %q", text, m.Data)
		}
	}
	return nil
}

func noResponders() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	if _, err := nc.Request("clients.nobody", nil, limit); !errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("got %v, wanted %v", err, nats.ErrNoResponders)
	}
	return nil
}

func queueGroups() error {
	const members, messages = 3, 300
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	all, err := nc.SubscribeSync("clients.queue")
	if err != nil {
		return err
	}
	seen := make(chan [2]int, 2*messages)
	for member := range members {
		peer, err := connect()
		if err != nil {
			return err
		}
		defer peer.Close()
		if _, err := peer.QueueSubscribe("clients.queue", "workers", func(m *nats.Msg) {
			var n int
			_, _ = fmt.Sscan(string(m.Data), &n)
			seen <- [2]int{member, n}
		}); err != nil {
			return err
		}
		if err := peer.Flush(); err != nil {
			return err
		}
	}
	for n := range messages {
		if err := nc.Publish("clients.queue", []byte(fmt.Sprint(n))); err != nil {
			return err
		}
	}
	var times [messages]int
	var each [members]int
	for range messages {
		select {
		case one := <-seen:
			each[one[0]]++
			times[one[1]]++
		case <-time.After(limit):
			return fmt.Errorf("only %v of %d messages came", each, messages)
		}
	}
	for n, count := range times {
		if count != 1 {
			return fmt.Errorf("message %d came %d times", n, count)
		}
	}
	for member, count := range each {
		if count == 0 {
			return fmt.Errorf("member %d got nothing: %v", member, each)
		}
	}
	select {
	case one := <-seen:
		return fmt.Errorf("one more message: %v", one)
	case <-time.After(quiet):
	}
	for n := range messages {
		if err := expect(all, fmt.Sprint(n)); err != nil {
			return fmt.Errorf("subscriber beside the group: %w", err)
		}
	}
	return expectNone(all)
}

func headers() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.headers")
	if err != nil {
		return err
	}
	for _, payload := range []string{"with headers", ""} {
		m := nats.NewMsg("clients.headers")
		m.Data = []byte(payload)
		m.Header.Add("One", "1")
		m.Header.Add("Many", "a")
		m.Header.Add("Many", "b: c")
		if err := nc.PublishMsg(m); err != nil {
			return err
		}
		got, err := sub.NextMsg(limit)
		if err != nil {
			return err
		}
		if string(got.Data) != payload || got.Header.Get("One") != "1" || fmt.Sprint(got.Header.Values("Many")) != "[a b: c]" {
			return fmt.Errorf("payload %q: got %q with %v", payload, got.Data, got.Header)
		}
	}
	return nil
}

// rawConnect makes a connection that says CONNECT with the given options, and waits for the first PONG.
func rawConnect(options, more string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(limit))
	in := bufio.NewReader(conn)
	if authority != "" {
		// INFO is in plain text.
		if _, err := in.ReadString('\n'); err != nil {
			return nil, nil, err
		}
		config := &tls.Config{ServerName: "127.0.0.1", RootCAs: x509.NewCertPool()}
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, nil, err
		}
		config.RootCAs.AppendCertsFromPEM(pem)
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, nil, err
		}
		config.Certificates = []tls.Certificate{pair}
		conn = tls.Client(conn, config)
		in = bufio.NewReader(conn)
	}
	if _, err := fmt.Fprintf(conn, "CONNECT {%s}\r\n%sPING\r\n", options, more); err != nil {
		return nil, nil, err
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, nil, fmt.Errorf("waiting for PONG: %w", err)
		}
		if line == "PONG\r\n" {
			return conn, in, nil
		}
	}
}

func noHeadersPeer() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.back")
	if err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	peer, in, err := rawConnect(`"verbose":false,"headers":false`, "SUB clients.plain 1\r\n")
	if err != nil {
		return err
	}
	defer peer.Close()
	m := nats.NewMsg("clients.plain")
	m.Data = []byte("hello")
	m.Header.Set("A", "b")
	if err := nc.PublishMsg(m); err != nil {
		return err
	}
	got := make([]byte, len("MSG clients.plain 1 5\r\nhello\r\n"))
	if _, err := readFull(in, got); err != nil || string(got) != "MSG clients.plain 1 5\r\nhello\r\n" {
		return fmt.Errorf("a peer without headers got %q, %v", got, err)
	}
	if _, err := fmt.Fprint(peer, "PUB clients.back 2\r\nok\r\n"); err != nil {
		return err
	}
	back, err := sub.NextMsg(limit)
	if err != nil {
		return err
	}
	if string(back.Data) != "ok" || len(back.Header) != 0 {
		return fmt.Errorf("from a peer without headers: %q %v", back.Data, back.Header)
	}
	return nil
}

func readFull(in *bufio.Reader, into []byte) (int, error) {
	n := 0
	for n < len(into) {
		more, err := in.Read(into[n:])
		n += more
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func maxPayload() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	if nc.MaxPayload() != 1<<20 {
		return fmt.Errorf("max_payload is %d", nc.MaxPayload())
	}
	sub, err := nc.SubscribeSync("clients.large")
	if err != nil {
		return err
	}
	largest := bytes.Repeat([]byte("x"), 1<<20)
	if err := nc.Publish("clients.large", largest); err != nil {
		return err
	}
	m, err := sub.NextMsg(limit)
	if err != nil {
		return err
	}
	if !bytes.Equal(m.Data, largest) {
		return fmt.Errorf("the largest payload came back as %d bytes", len(m.Data))
	}
	if err := nc.Publish("clients.large", append(largest, 'x')); !errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("one byte more: %v", err)
	}
	// The client refuses by itself; the server must too.
	peer, in, err := rawConnect(`"verbose":false`, "")
	if err != nil {
		return err
	}
	defer peer.Close()
	if _, err := fmt.Fprint(peer, "PUB clients.large 1048577\r\n"); err != nil {
		return err
	}
	line, err := in.ReadString('\n')
	if err != nil || !strings.EqualFold(line, "-ERR 'Maximum Payload Violation'\r\n") {
		return fmt.Errorf("the server said %q, %v", line, err)
	}
	if _, err := in.ReadByte(); err == nil {
		return errors.New("the server went on after a payload that is too large")
	}
	return nil
}

func unsubscribe() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.unsub")
	if err != nil {
		return err
	}
	other, err := nc.SubscribeSync("clients.unsub")
	if err != nil {
		return err
	}
	if err := nc.Publish("clients.unsub", []byte("1")); err != nil {
		return err
	}
	if err := errors.Join(expect(sub, "1"), expect(other, "1")); err != nil {
		return err
	}
	if err := sub.Unsubscribe(); err != nil {
		return err
	}
	before := nc.Stats().InMsgs
	if err := nc.Publish("clients.unsub", []byte("2")); err != nil {
		return err
	}
	if err := expect(other, "2"); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	if came := nc.Stats().InMsgs - before; came != 1 {
		return fmt.Errorf("%d copies came for one subscription", came)
	}
	return nil
}

func unsubscribeMax() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.max")
	if err != nil {
		return err
	}
	if err := sub.AutoUnsubscribe(5); err != nil {
		return err
	}
	before := nc.Stats().InMsgs
	for n := range 20 {
		if err := nc.Publish("clients.max", []byte(fmt.Sprint(n))); err != nil {
			return err
		}
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	if came := nc.Stats().InMsgs - before; came != 5 {
		return fmt.Errorf("%d messages came, wanted 5", came)
	}
	for n := range 5 {
		if err := expect(sub, fmt.Sprint(n)); err != nil {
			return err
		}
	}
	return nil
}

func drain() error {
	const messages = 200
	closed := make(chan struct{})
	nc, err := connect(nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		return err
	}
	defer nc.Close()
	var handled atomic.Int64
	if _, err := nc.Subscribe("clients.drain", func(*nats.Msg) {
		time.Sleep(time.Millisecond)
		handled.Add(1)
	}); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	peer, err := connect()
	if err != nil {
		return err
	}
	defer peer.Close()
	for range messages {
		if err := peer.Publish("clients.drain", nil); err != nil {
			return err
		}
	}
	if err := errors.Join(peer.Flush(), nc.Flush()); err != nil {
		return err
	}
	if err := nc.Drain(); err != nil {
		return err
	}
	select {
	case <-closed:
	case <-time.After(limit):
		return errors.New("the connection did not close")
	}
	if n := handled.Load(); n != messages {
		return fmt.Errorf("%d of %d messages were handled", n, messages)
	}
	return nil
}

func flush() error {
	const messages = 1000
	receiver, err := connect()
	if err != nil {
		return err
	}
	defer receiver.Close()
	sub, err := receiver.SubscribeSync("clients.flush")
	if err != nil {
		return err
	}
	if err := receiver.Flush(); err != nil {
		return err
	}
	sender, err := connect()
	if err != nil {
		return err
	}
	defer sender.Close()
	for n := range messages {
		if err := sender.Publish("clients.flush", []byte(fmt.Sprint(n))); err != nil {
			return err
		}
	}
	// What one connection flushed reaches another one before the answer to that one's next PING.
	if err := errors.Join(sender.Flush(), receiver.Flush()); err != nil {
		return err
	}
	if pending, _, err := sub.Pending(); err != nil || pending != messages {
		return fmt.Errorf("%d of %d messages are here after the flush, %v", pending, messages, err)
	}
	for n := range messages {
		if err := expect(sub, fmt.Sprint(n)); err != nil {
			return err
		}
	}
	return nil
}

func noEcho() error {
	nc, err := connect(nats.NoEcho())
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.echo")
	if err != nil {
		return err
	}
	if err := errors.Join(nc.Publish("clients.echo", []byte("own")), nc.Flush()); err != nil {
		return err
	}
	peer, err := connect()
	if err != nil {
		return err
	}
	defer peer.Close()
	if err := errors.Join(peer.Publish("clients.echo", []byte("peer's")), peer.Flush()); err != nil {
		return err
	}
	return errors.Join(expect(sub, "peer's"), expectNone(sub))
}

func verbose() error {
	nc, err := connect(func(o *nats.Options) error {
		o.Verbose, o.Pedantic = true, true
		return nil
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.verbose")
	if err != nil {
		return err
	}
	for n := range 10 {
		if err := nc.Publish("clients.verbose", []byte(fmt.Sprint(n))); err != nil {
			return err
		}
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	for n := range 10 {
		if err := expect(sub, fmt.Sprint(n)); err != nil {
			return err
		}
	}
	return nc.LastError()
}

func many() error {
	// Never more than this on the way: a subscriber that falls far behind is cut off as a slow consumer.
	const messages, window = 200_000, 20_000
	receiver, err := connect()
	if err != nil {
		return err
	}
	defer receiver.Close()
	var received, outOfOrder atomic.Int64
	sub, err := receiver.Subscribe("clients.many", func(m *nats.Msg) {
		if string(m.Data) != fmt.Sprintf("%064d", received.Load()) {
			outOfOrder.Add(1)
		}
		received.Add(1)
	})
	if err != nil {
		return err
	}
	if err := errors.Join(sub.SetPendingLimits(-1, -1), receiver.Flush()); err != nil {
		return err
	}
	sender, err := connect()
	if err != nil {
		return err
	}
	defer sender.Close()
	for n := range int64(messages) {
		if n%1000 == 0 && n >= window {
			if err := errors.Join(sender.Flush(), eventually("the subscriber keeps up", func() bool { return received.Load() > n-window })); err != nil {
				return fmt.Errorf("%d published, %d received: %w", n, received.Load(), err)
			}
		}
		if err := sender.Publish("clients.many", fmt.Appendf(nil, "%064d", n)); err != nil {
			return err
		}
	}
	if err := sender.Flush(); err != nil {
		return err
	}
	if err := eventually("all messages", func() bool { return received.Load() >= messages }); err != nil {
		return fmt.Errorf("%d of %d received: %w", received.Load(), messages, err)
	}
	if n := outOfOrder.Load(); n != 0 {
		return fmt.Errorf("%d messages out of order", n)
	}
	return nil
}

func reconnect() error {
	nc, err := connect(nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("clients.reconnect")
	if err != nil {
		return err
	}
	if err := errors.Join(nc.Publish("clients.reconnect", []byte("before")), expect(sub, "before"), control("stop")); err != nil {
		return err
	}
	if err := eventually("the client sees that the server is gone", func() bool { return !nc.IsConnected() }); err != nil {
		return err
	}
	if err := errors.Join(nc.Publish("clients.reconnect", []byte("while away")), control("start")); err != nil {
		return err
	}
	if err := eventually("the client is connected again", nc.IsConnected); err != nil {
		return err
	}
	if err := errors.Join(expect(sub, "while away"), nc.Flush()); err != nil {
		return err
	}
	peer, err := connect()
	if err != nil {
		return err
	}
	defer peer.Close()
	return errors.Join(peer.Publish("clients.reconnect", []byte("after")), expect(sub, "after"))
}
