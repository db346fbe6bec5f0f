import io.nats.client.Connection;
import io.nats.client.ConnectionListener;
import io.nats.client.Dispatcher;
import io.nats.client.Message;
import io.nats.client.Options;
import io.nats.client.Subscription;
import io.nats.client.impl.Headers;
import io.nats.client.impl.NatsMessage;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;

/** Core NATS: what any server must do. */
final class Core {
    static void register(Map<String, Clients.Check> checks) {
        checks.put("publish_subscribe", Core::publishSubscribe);
        checks.put("wildcards", Core::wildcards);
        checks.put("request_reply", Core::requestReply);
        checks.put("no_responders", Core::noResponders);
        checks.put("queue_groups", Core::queueGroups);
        checks.put("headers", Core::headers);
        checks.put("no_headers_peer", Core::noHeadersPeer);
        checks.put("max_payload", Core::maxPayload);
        checks.put("unsubscribe", Core::unsubscribe);
        checks.put("unsubscribe_max", Core::unsubscribeMax);
        checks.put("drain", Core::drain);
        checks.put("flush", Core::flush);
        checks.put("no_echo", Core::noEcho);
        checks.put("verbose", Core::verbose);
        checks.put("many", Core::many);
        checks.put("reconnect", Core::reconnect);
    }

    private static byte[] number(int n) {
        return Clients.bytes(Integer.toString(n));
    }

    private static void publishSubscribe() throws Exception {
        try (Connection nc = Clients.connect()) {
            Subscription sub = nc.subscribe("clients.one");
            for (String payload : List.of("hello", "", "a\r\nb\0\u00ff")) {
                nc.publish("clients.one", Clients.bytes(payload));
                Clients.expect(sub, payload);
            }
            nc.publish("clients.other", null);
            Clients.expectNone(sub);
        }
    }

    private static void wildcards() throws Exception {
        try (Connection nc = Clients.connect()) {
            Subscription star = nc.subscribe("clients.*.b");
            Subscription rest = nc.subscribe("clients.a.>");
            for (String subject : List.of("clients.a.b", "clients.x.b", "clients.a.c.d", "clients.a", "clients.a.x.b")) {
                nc.publish(subject, Clients.bytes(subject));
            }
            for (String wanted : List.of("clients.a.b", "clients.x.b")) {
                Clients.expect(star, wanted);
            }
            for (String wanted : List.of("clients.a.b", "clients.a.c.d", "clients.a.x.b")) {
                Clients.expect(rest, wanted);
            }
            Clients.expectNone(star);
            Clients.expectNone(rest);
        }
    }

    private static void requestReply() throws Exception {
        try (Connection server = Clients.connect();
                Connection nc = Clients.connect()) {
            Dispatcher dispatcher = server.createDispatcher(m -> {
                String text = Clients.text(m.getData());
                server.publish(m.getReplyTo(), Clients.bytes(text + text));
            });
            dispatcher.subscribe("clients.double");
            server.flush(Clients.LIMIT);
            for (int n = 0; n < 100; n++) {
                Message m = nc.request("clients.double", number(n), Clients.LIMIT);
                Clients.want(m != null && Clients.text(m.getData()).equals("" + n + n), "request " + n + ": answer " + m);
            }
        }
    }

    private static void noResponders() throws Exception {
        try (Connection nc = Clients.connect(Options.Builder::reportNoResponders)) {
            Message m = nc.request("clients.nobody", null).get(10, TimeUnit.SECONDS);
            throw new Clients.Failed("somebody answered: " + m);
        } catch (ExecutionException error) {
            Clients.want(error.toString().contains("503"), "got " + error);
        }
        // By default the client cancels the request at once.
        try (Connection nc = Clients.connect()) {
            Message m = nc.request("clients.nobody", null).get(10, TimeUnit.SECONDS);
            throw new Clients.Failed("somebody answered: " + m);
        } catch (CancellationException expected) {
            // As it should be.
        }
    }

    private static void queueGroups() throws Exception {
        int members = 3;
        int messages = 300;
        AtomicIntegerArray times = new AtomicIntegerArray(messages);
        AtomicIntegerArray each = new AtomicIntegerArray(members);
        AtomicInteger all = new AtomicInteger();
        List<Connection> peers = new ArrayList<>();
        try (Connection nc = Clients.connect()) {
            Subscription beside = nc.subscribe("clients.queue");
            for (int i = 0; i < members; i++) {
                int member = i;
                Connection peer = Clients.connect();
                peers.add(peer);
                peer.createDispatcher(m -> {
                            times.incrementAndGet(Integer.parseInt(Clients.text(m.getData())));
                            each.incrementAndGet(member);
                            all.incrementAndGet();
                        })
                        .subscribe("clients.queue", "workers");
                peer.flush(Clients.LIMIT);
            }
            for (int n = 0; n < messages; n++) {
                nc.publish("clients.queue", number(n));
            }
            Clients.eventually("all messages", () -> all.get() >= messages);
            Thread.sleep(Clients.QUIET.toMillis());
            for (int n = 0; n < messages; n++) {
                Clients.want(times.get(n) == 1, "message " + n + " came " + times.get(n) + " times");
            }
            for (int member = 0; member < members; member++) {
                Clients.want(each.get(member) > 0, "a member got nothing: " + each);
            }
            for (int n = 0; n < messages; n++) {
                Clients.expect(beside, Integer.toString(n));
            }
            Clients.expectNone(beside);
        } finally {
            for (Connection peer : peers) {
                peer.close();
            }
        }
    }

    private static NatsMessage withHeaders(String subject, String payload, Headers headers) {
        return NatsMessage.builder().subject(subject).data(Clients.bytes(payload)).headers(headers).build();
    }

    private static void headers() throws Exception {
        try (Connection nc = Clients.connect()) {
            Subscription sub = nc.subscribe("clients.headers");
            for (String payload : List.of("with headers", "")) {
                Headers headers = new Headers().add("One", "1").add("Many", "a", "b: c");
                nc.publish(withHeaders("clients.headers", payload, headers));
                Message m = Clients.next(sub);
                Clients.want(Clients.text(m.getData()).equals(payload), "got " + m);
                Clients.want(
                        m.hasHeaders()
                                && List.of("1").equals(m.getHeaders().get("One"))
                                && List.of("a", "b: c").equals(m.getHeaders().get("Many")),
                        "headers " + m.getHeaders());
            }
        }
    }

    private static void noHeadersPeer() throws Exception {
        try (Connection nc = Clients.connect()) {
            Subscription sub = nc.subscribe("clients.back");
            nc.flush(Clients.LIMIT);
            try (Socket peer = Clients.raw("\"verbose\":false,\"headers\":false", "SUB clients.plain 1\r\n")) {
                nc.publish(withHeaders("clients.plain", "hello", new Headers().add("A", "b")));
                nc.flush(Clients.LIMIT);
                String wanted = "MSG clients.plain 1 5\r\nhello\r\n";
                String got = Clients.text(peer.getInputStream().readNBytes(wanted.length()));
                Clients.want(got.equals(wanted), "a peer without headers got \"" + got + "\"");
                peer.getOutputStream().write(Clients.bytes("PUB clients.back 2\r\nok\r\n"));
                Message m = Clients.next(sub);
                Clients.want(
                        Clients.text(m.getData()).equals("ok") && !m.hasHeaders(), "from a peer without headers: " + m);
            }
        }
    }

    private static void maxPayload() throws Exception {
        try (Connection nc = Clients.connect()) {
            Clients.want(nc.getMaxPayload() == 1 << 20, "max_payload is " + nc.getMaxPayload());
            Subscription sub = nc.subscribe("clients.large");
            byte[] largest = new byte[1 << 20];
            Arrays.fill(largest, (byte) 'x');
            nc.publish("clients.large", largest);
            Message m = Clients.next(sub);
            Clients.want(
                    Arrays.equals(m.getData(), largest), "the largest payload came back as " + m.getData().length);
            try {
                nc.publish("clients.large", Arrays.copyOf(largest, largest.length + 1));
                throw new Clients.Failed("one byte more was accepted");
            } catch (IllegalArgumentException expected) {
                // The client refuses by itself; the server must too.
            }
        }
        try (Socket peer = Clients.raw("\"verbose\":false", "")) {
            peer.getOutputStream().write(Clients.bytes("PUB clients.large 1048577\r\n"));
            InputStream in = peer.getInputStream();
            String line = Clients.readLine(in);
            Clients.want(line.equalsIgnoreCase("-ERR 'Maximum Payload Violation'\r\n"), "the server said " + line);
            int more;
            try {
                more = in.read();
            } catch (java.net.SocketTimeoutException open) {
                throw new Clients.Failed("the server kept the connection open");
            } catch (IOException closed) {
                more = -1;
            }
            Clients.want(more < 0, "the server went on after a payload that is too large");
        }
    }

    private static void unsubscribe() throws Exception {
        try (Connection nc = Clients.connect()) {
            Subscription sub = nc.subscribe("clients.unsub");
            Subscription other = nc.subscribe("clients.unsub");
            nc.publish("clients.unsub", Clients.bytes("1"));
            Clients.expect(sub, "1");
            Clients.expect(other, "1");
            sub.unsubscribe();
            long before = nc.getStatistics().getInMsgs();
            nc.publish("clients.unsub", Clients.bytes("2"));
            Clients.expect(other, "2");
            nc.flush(Clients.LIMIT);
            long came = nc.getStatistics().getInMsgs() - before;
            Clients.want(came == 1, came + " copies came for one subscription");
        }
    }

    private static void unsubscribeMax() throws Exception {
        try (Connection nc = Clients.connect()) {
            Subscription sub = nc.subscribe("clients.max");
            sub.unsubscribe(5);
            long before = nc.getStatistics().getInMsgs();
            for (int n = 0; n < 20; n++) {
                nc.publish("clients.max", number(n));
            }
            nc.flush(Clients.LIMIT);
            long came = nc.getStatistics().getInMsgs() - before;
            Clients.want(came == 5, came + " messages came, wanted 5");
            for (int n = 0; n < 5; n++) {
                Clients.expect(sub, Integer.toString(n));
            }
        }
    }

    private static void drain() throws Exception {
        int messages = 200;
        AtomicInteger handled = new AtomicInteger();
        CountDownLatch closed = new CountDownLatch(1);
        ConnectionListener listener = (connection, event) -> {
            if (event == ConnectionListener.Events.CLOSED) {
                closed.countDown();
            }
        };
        try (Connection peer = Clients.connect()) {
            Connection nc = Clients.connect(options -> options.connectionListener(listener));
            nc.createDispatcher(m -> {
                        Thread.sleep(1);
                        handled.incrementAndGet();
                    })
                    .subscribe("clients.drain");
            nc.flush(Clients.LIMIT);
            for (int n = 0; n < messages; n++) {
                peer.publish("clients.drain", null);
            }
            peer.flush(Clients.LIMIT);
            nc.flush(Clients.LIMIT);
            Clients.want(nc.drain(Clients.LIMIT).get(10, TimeUnit.SECONDS), "drain did not finish");
            Clients.want(closed.await(10, TimeUnit.SECONDS), "the connection did not close");
        }
        Clients.want(handled.get() == messages, handled + " of " + messages + " messages were handled");
    }

    private static void flush() throws Exception {
        int messages = 1000;
        try (Connection receiver = Clients.connect();
                Connection sender = Clients.connect()) {
            Subscription sub = receiver.subscribe("clients.flush");
            receiver.flush(Clients.LIMIT);
            for (int n = 0; n < messages; n++) {
                sender.publish("clients.flush", number(n));
            }
            // What one connection flushed reaches another one before the answer to that one's next PING.
            sender.flush(Clients.LIMIT);
            receiver.flush(Clients.LIMIT);
            long here = sub.getPendingMessageCount();
            Clients.want(here == messages, here + " of " + messages + " messages are here after the flush");
            for (int n = 0; n < messages; n++) {
                Clients.expect(sub, Integer.toString(n));
            }
        }
    }

    private static void noEcho() throws Exception {
        try (Connection nc = Clients.connect(Options.Builder::noEcho);
                Connection peer = Clients.connect()) {
            Subscription sub = nc.subscribe("clients.echo");
            nc.publish("clients.echo", Clients.bytes("own"));
            nc.flush(Clients.LIMIT);
            peer.publish("clients.echo", Clients.bytes("peer's"));
            peer.flush(Clients.LIMIT);
            Clients.expect(sub, "peer's");
            Clients.expectNone(sub);
        }
    }

    private static void verbose() throws Exception {
        try (Connection nc = Clients.connect(options -> options.verbose().pedantic())) {
            Subscription sub = nc.subscribe("clients.verbose");
            for (int n = 0; n < 10; n++) {
                nc.publish("clients.verbose", number(n));
            }
            nc.flush(Clients.LIMIT);
            for (int n = 0; n < 10; n++) {
                Clients.expect(sub, Integer.toString(n));
            }
            Clients.want(nc.getLastError() == null || nc.getLastError().isEmpty(), nc.getLastError());
        }
    }

    private static void many() throws Exception {
        // Never more than `window` on the way: a subscriber that falls far behind is cut off as a slow consumer.
        int messages = 200_000;
        int window = 20_000;
        AtomicInteger received = new AtomicInteger();
        AtomicInteger outOfOrder = new AtomicInteger();
        try (Connection receiver = Clients.connect();
                Connection sender = Clients.connect()) {
            Dispatcher dispatcher = receiver.createDispatcher(m -> {
                if (!Clients.text(m.getData()).equals(String.format("%064d", received.get()))) {
                    outOfOrder.incrementAndGet();
                }
                received.incrementAndGet();
            });
            dispatcher.setPendingLimits(-1, -1);
            dispatcher.subscribe("clients.many");
            receiver.flush(Clients.LIMIT);
            for (int i = 0; i < messages; i++) {
                int n = i;
                if (n % 1000 == 0 && n >= window) {
                    sender.flush(Clients.LIMIT);
                    Clients.eventually("the subscriber keeps up", () -> received.get() > n - window);
                }
                sender.publish("clients.many", Clients.bytes(String.format("%064d", n)));
            }
            sender.flush(Clients.LIMIT);
            Clients.eventually("all messages", () -> received.get() >= messages);
            Clients.want(received.get() == messages, received + " of " + messages + " messages came");
            Clients.want(outOfOrder.get() == 0, outOfOrder + " messages out of order");
        }
    }

    private static void reconnect() throws Exception {
        try (Connection nc = Clients.connect(
                options -> options.maxReconnects(-1).reconnectWait(Duration.ofMillis(50)).reconnectJitter(Duration.ofMillis(10)))) {
            Subscription sub = nc.subscribe("clients.reconnect");
            nc.publish("clients.reconnect", Clients.bytes("before"));
            Clients.expect(sub, "before");
            Clients.control("stop");
            Clients.eventually(
                    "the client sees that the server is gone", () -> nc.getStatus() != Connection.Status.CONNECTED);
            nc.publish("clients.reconnect", Clients.bytes("while away"));
            Clients.control("start");
            Clients.eventually("the client is connected again", () -> nc.getStatus() == Connection.Status.CONNECTED);
            Clients.expect(sub, "while away");
            nc.flush(Clients.LIMIT);
            try (Connection peer = Clients.connect()) {
                peer.publish("clients.reconnect", Clients.bytes("after"));
                peer.flush(Clients.LIMIT);
                Clients.expect(sub, "after");
            }
        }
    }

    private Core() {}
}
