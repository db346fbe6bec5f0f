"""The checks of tests/clients/README.md with the public client nats.py, unchanged.

Usage: checks.py HOST:PORT (or NATS_ADDRESS). One line a check: "ok NAME" or "FAIL NAME: why". Exit 1 when one failed.
"""

import asyncio
import json
import logging
import os
import ssl
import sys
from contextlib import asynccontextmanager

import nats
from nats.errors import MaxPayloadError, NoRespondersError, TimeoutError as NatsTimeout

from log_message import log_message

LIMIT = 10  # s, for anything that must happen
QUIET = 0.2  # s to wait for something that must not happen
CONTAINER, CONTAINER_ID = "clients-py", "0123456789ab"
LOG_LINES = 20_000  # the harness knows the number too

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("NATS_ADDRESS", "")
CHECKS = []


def tls_context():
    """Of the files for TLS; without them connections are plain."""
    if not (authority := os.environ.get("NATS_CA")):
        return None
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(os.environ["NATS_CERT"], os.environ["NATS_KEY"])
    return context


TLS = tls_context()
# It has something to say at each end of a TLS connection.
logging.getLogger("asyncio").setLevel(logging.ERROR)


class Failed(Exception):
    """A check that did not hold."""


def check(function):
    CHECKS.append(function)
    return function


def want(condition, why):
    if not condition:
        raise Failed(why)


@asynccontextmanager
async def connection(**options):
    async def ignore(_error):
        pass

    if TLS:
        options["tls"] = TLS
    nc = await nats.connect(f"nats://{ADDRESS}", error_cb=ignore, **options)
    try:
        yield nc
    finally:
        if not nc.is_closed:
            await nc.close()


async def control(what):
    """Asks the harness to do something to the server and waits until it is done."""
    print("control", what, flush=True)
    answer = await asyncio.to_thread(sys.stdin.readline)
    want(answer.strip() == "done", f"control {what}: answer {answer!r}")


async def expect(sub, payload):
    try:
        msg = await sub.next_msg(timeout=LIMIT)
    except NatsTimeout:
        raise Failed(f"{payload!r} did not come") from None
    want(msg.data == payload, f"got {msg.data!r}, wanted {payload!r}")


async def expect_none(sub):
    try:
        msg = await sub.next_msg(timeout=QUIET)
    except NatsTimeout:
        return
    raise Failed(f"unexpected message {msg.data!r} on {msg.subject}")


async def eventually(what, condition):
    for _ in range(LIMIT * 1000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise Failed(f"not within {LIMIT} s: {what}")


async def flushed(nc):
    """Everything published before is at the server.

    The client writes the PING of a flush() ahead of what is still in its own buffer (2.16.0, Client._send_ping), and the
    buffer right after it. So only the second flush() covers all that was published before the first one.
    """
    await nc.flush(timeout=LIMIT)
    await nc.flush(timeout=LIMIT)


@check
async def publish_subscribe():
    async with connection() as nc:
        sub = await nc.subscribe("clients.one")
        for payload in (b"hello", b"", b"a\r\nb\x00\xff"):
            await nc.publish("clients.one", payload)
            await expect(sub, payload)
        await nc.publish("clients.other")
        await expect_none(sub)


@check
async def wildcards():
    async with connection() as nc:
        star = await nc.subscribe("clients.*.b")
        rest = await nc.subscribe("clients.a.>")
        for subject in ("clients.a.b", "clients.x.b", "clients.a.c.d", "clients.a", "clients.a.x.b"):
            await nc.publish(subject, subject.encode())
        for wanted in (b"clients.a.b", b"clients.x.b"):
            await expect(star, wanted)
        for wanted in (b"clients.a.b", b"clients.a.c.d", b"clients.a.x.b"):
            await expect(rest, wanted)
        await expect_none(star)
        await expect_none(rest)


@check
async def request_reply():
    async with connection() as server, connection() as nc:

        async def double(msg):
            await msg.respond(msg.data * 2)

        await server.subscribe("clients.double", cb=double)
        await server.flush()
        for n in range(100):
            text = str(n).encode()
            msg = await nc.request("clients.double", text, timeout=LIMIT)
            want(msg.data == text * 2, f"request {text!r}: answer {msg.data!r}")


@check
async def no_responders():
    async with connection() as nc:
        try:
            await nc.request("clients.nobody", timeout=LIMIT)
        except NoRespondersError:
            return
        raise Failed("somebody answered")


@check
async def queue_groups():
    members, messages = 3, 300
    async with connection() as nc, connection() as a, connection() as b, connection() as c:
        beside = await nc.subscribe("clients.queue")
        seen = []
        for member, peer in enumerate((a, b, c)):

            async def take(msg, member=member):
                seen.append((member, int(msg.data)))

            await peer.subscribe("clients.queue", queue="workers", cb=take)
            await peer.flush()
        for n in range(messages):
            await nc.publish("clients.queue", str(n).encode())
        await eventually("all messages", lambda: len(seen) >= messages)
        await asyncio.sleep(QUIET)
        want(sorted(n for _, n in seen) == list(range(messages)), f"{len(seen)} deliveries, not each message once")
        each = [sum(1 for who, _ in seen if who == member) for member in range(members)]
        want(all(each), f"a member got nothing: {each}")
        for n in range(messages):
            await expect(beside, str(n).encode())
        await expect_none(beside)


@check
async def headers():
    async with connection() as nc:
        sub = await nc.subscribe("clients.headers")
        for payload in (b"with headers", b""):
            # The client keeps one value a name.
            await nc.publish("clients.headers", payload, headers={"One": "1", "Other": "b: c"})
            msg = await sub.next_msg(timeout=LIMIT)
            want(msg.data == payload, f"got {msg.data!r}")
            want(msg.headers == {"One": "1", "Other": "b: c"}, f"got {msg.headers}")


@asynccontextmanager
async def raw(options, more=b""):
    """A connection that says CONNECT with the given options, after the first PONG."""
    host, port = ADDRESS.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        if TLS:
            await reader.readline()  # INFO is in plain text
            await writer.start_tls(TLS, server_hostname=host)
        writer.write(b"CONNECT {%s}\r\n%sPING\r\n" % (options, more))
        while (line := await reader.readline()) != b"PONG\r\n":
            want(line, "closed before PONG")
        yield reader, writer
    finally:
        writer.close()


@check
async def no_headers_peer():
    async with connection() as nc:
        sub = await nc.subscribe("clients.back")
        await nc.flush()
        async with raw(b'"verbose":false,"headers":false', b"SUB clients.plain 1\r\n") as (reader, writer):
            await nc.publish("clients.plain", b"hello", headers={"A": "b"})
            await nc.flush()
            wanted = b"MSG clients.plain 1 5\r\nhello\r\n"
            got = await reader.readexactly(len(wanted))
            want(got == wanted, f"a peer without headers got {got!r}")
            writer.write(b"PUB clients.back 2\r\nok\r\n")
            msg = await sub.next_msg(timeout=LIMIT)
            want((msg.data, msg.headers) == (b"ok", None), f"from a peer without headers: {msg}")


@check
async def max_payload():
    async with connection() as nc:
        want(nc.max_payload == 1 << 20, f"max_payload is {nc.max_payload}")
        sub = await nc.subscribe("clients.large")
        largest = b"x" * (1 << 20)
        await nc.publish("clients.large", largest)
        msg = await sub.next_msg(timeout=LIMIT)
        want(msg.data == largest, f"the largest payload came back as {len(msg.data)} bytes")
        try:
            await nc.publish("clients.large", largest + b"x")
        except MaxPayloadError:
            pass
        else:
            raise Failed("one byte more was accepted")
    # The client refuses by itself; the server must too.
    async with raw(b'"verbose":false') as (reader, writer):
        writer.write(b"PUB clients.large 1048577\r\n")
        line = await reader.readline()
        want(line.lower() == b"-err 'maximum payload violation'\r\n", f"the server said {line!r}")
        try:
            rest = await reader.read()
        except ConnectionError:
            rest = b""
        want(rest == b"", f"the server went on after a payload that is too large: {rest!r}")


@check
async def unsubscribe():
    async with connection() as nc:
        sub = await nc.subscribe("clients.unsub")
        other = await nc.subscribe("clients.unsub")
        await nc.publish("clients.unsub", b"1")
        await expect(sub, b"1")
        await expect(other, b"1")
        await sub.unsubscribe()
        before = nc.stats["in_msgs"]
        await nc.publish("clients.unsub", b"2")
        await expect(other, b"2")
        await nc.flush()
        came = nc.stats["in_msgs"] - before
        want(came == 1, f"{came} copies came for one subscription")


@check
async def unsubscribe_max():
    async with connection() as nc:
        sub = await nc.subscribe("clients.max")
        await sub.unsubscribe(limit=5)
        before = nc.stats["in_msgs"]
        for n in range(20):
            await nc.publish("clients.max", str(n).encode())
        await flushed(nc)
        came = nc.stats["in_msgs"] - before
        want(came == 5, f"{came} messages came, wanted 5")
        for n in range(5):
            await expect(sub, str(n).encode())


@check
async def drain():
    messages, handled = 200, 0
    closed = asyncio.Event()

    async def on_closed():
        closed.set()

    async def slowly(_msg):
        nonlocal handled
        await asyncio.sleep(0.001)
        handled += 1

    async with connection(closed_cb=on_closed) as nc, connection() as peer:
        await nc.subscribe("clients.drain", cb=slowly)
        await nc.flush()
        for _ in range(messages):
            await peer.publish("clients.drain")
        await flushed(peer)
        await nc.flush()
        await nc.drain()
        await asyncio.wait_for(closed.wait(), LIMIT)
    want(handled == messages, f"{handled} of {messages} messages were handled")


@check
async def flush():
    messages = 1000
    async with connection() as receiver, connection() as sender:
        sub = await receiver.subscribe("clients.flush")
        await receiver.flush()
        for n in range(messages):
            await sender.publish("clients.flush", str(n).encode())
        # What one connection flushed reaches another one before the answer to that one's next PING.
        await flushed(sender)
        await receiver.flush()
        want(sub.pending_msgs == messages, f"{sub.pending_msgs} of {messages} messages are here after the flush")
        for n in range(messages):
            await expect(sub, str(n).encode())


@check
async def no_echo():
    async with connection(no_echo=True) as nc, connection() as peer:
        sub = await nc.subscribe("clients.echo")
        await nc.publish("clients.echo", b"own")
        await nc.flush()
        await peer.publish("clients.echo", b"peer's")
        await peer.flush()
        await expect(sub, b"peer's")
        await expect_none(sub)


@check
async def verbose():
    async with connection(verbose=True, pedantic=True) as nc:
        sub = await nc.subscribe("clients.verbose")
        for n in range(10):
            await nc.publish("clients.verbose", str(n).encode())
        await nc.flush()
        for n in range(10):
            await expect(sub, str(n).encode())
        want(nc.last_error is None, f"{nc.last_error}")


@check
async def many():
    # Never more than `window` on the way: a subscriber that falls far behind is cut off as a slow consumer.
    messages, window = 200_000, 20_000
    received = out_of_order = 0

    async def take(msg):
        nonlocal received, out_of_order
        out_of_order += msg.data != b"%064d" % received
        received += 1

    async with connection() as receiver, connection() as sender:
        await receiver.subscribe("clients.many", cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await receiver.flush()
        for n in range(messages):
            if n % 1000 == 0 and n >= window:
                await sender.flush()
                await eventually("the subscriber keeps up", lambda: received > n - window)
            await sender.publish("clients.many", b"%064d" % n)
        await sender.flush()
        await eventually("all messages", lambda: received >= messages)
        want(received == messages, f"{received} of {messages} messages came")
        want(out_of_order == 0, f"{out_of_order} messages out of order")


@check
async def reconnect():
    async with connection(max_reconnect_attempts=-1, reconnect_time_wait=0.05) as nc:
        sub = await nc.subscribe("clients.reconnect")
        await nc.publish("clients.reconnect", b"before")
        await expect(sub, b"before")
        await control("stop")
        await eventually("the client sees that the server is gone", lambda: not nc.is_connected)
        await nc.publish("clients.reconnect", b"while away")
        await control("start")
        await eventually("the client is connected again", lambda: nc.is_connected)
        await expect(sub, b"while away")
        await nc.flush()
        async with connection() as peer:
            await peer.publish("clients.reconnect", b"after")
            await peer.flush()
            await expect(sub, b"after")


@check
async def log_to_subscribers():
    async with connection() as nc:
        sub = await nc.subscribe("LOG")
        wanted = log_message(CONTAINER + "-copy", CONTAINER_ID, b"a copy for ordinary subscribers")
        await nc.publish("LOG", wanted)
        # CIM's own lines pass here too.
        while (await sub.next_msg(timeout=LIMIT)).data != wanted:
            pass


@check
async def log_flush():
    async with connection() as nc:
        for n in range(LOG_LINES):
            line = b"line %05d \xc3\xa9 \xff" % n
            await nc.publish("LOG", log_message(CONTAINER, CONTAINER_ID, line))
        # The harness reads the file as soon as it sees "ok log_flush": the answer to the flush means stored.
        await flushed(nc)


@check
async def log_ack():
    async with connection() as nc:

        async def ask(buffer):
            try:
                return json.loads((await nc.request("LOG", buffer, timeout=LIMIT)).data)
            except NoRespondersError:
                raise Failed("nobody answers: not CIM?") from None

        stored = await ask(log_message(CONTAINER + "-ack", CONTAINER_ID, b"acknowledged"))
        want(stored.get("stream") == "LOG" and stored.get("seq", 0) >= 1, f"answer {stored}")
        refused = await ask(b"no FlatBuffer")
        want(isinstance(refused.get("error"), dict), f"answer to a malformed buffer: {refused}")


async def main():
    failed = False
    for function in CHECKS:
        try:
            await function()
            print("ok", function.__name__, flush=True)
        except Exception as error:  # any failure of the client is a failed check
            failed = True
            why = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"FAIL {function.__name__}: {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if not ADDRESS:
        sys.exit("usage: checks.py HOST:PORT")
    sys.exit(asyncio.run(main()))
