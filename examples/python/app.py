"""A sample application beside CIM. It does what every application with CIM does:

  1. listens on APP_PORT for what CIM asks of it (configuration, shutdown), and says "up" by registering over HTTP;
  2. publishes its log lines on the NATS subject LOG, and its events on EVENT;
  3. takes its first configuration (Day-1), and each change of it (updateConfig), and answers on CONFIG how that went;
  4. hears of other functions' events on EVENT-NOTIFICATION;
  5. ends when CIM asks it to, and says so with an event.

cim_generated.py is `flatc --python --gen-onefile src/wire/cim.fbs`.
"""

import asyncio
import json
import os
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import flatbuffers
import jsonpatch
import nats

import cim_generated as wire

NATS = os.environ.get("CIM_NATS_URL", "nats://127.0.0.1:4222")
CIM = os.environ.get("CIM_HTTP_URL", "http://127.0.0.1:6060")
PORT = int(os.environ.get("APP_PORT", "9999"))
CONTAINER, CONTAINER_ID = "sample-python", "0123456789ab"


def log_message(line: bytes) -> bytes:
    """FlatBuffers LogMessage. A line is bytes, and need not be UTF-8."""
    b = flatbuffers.Builder(128 + len(line))
    texts = [b.CreateByteVector(line), b.CreateString(CONTAINER), b.CreateString(CONTAINER_ID)]
    wire.LogMessageStart(b)
    wire.LogMessageAddPayload(b, texts[0])
    wire.LogMessageAddContainerName(b, texts[1])
    wire.LogMessageAddContainerId(b, texts[2])
    b.Finish(wire.LogMessageEnd(b))
    return bytes(b.Output())


def event(name: str, managed_object: dict) -> bytes:
    """FlatBuffers Event."""
    b = flatbuffers.Builder(512)
    pairs = []
    for key, value in managed_object.items():
        key, value = b.CreateString(key), b.CreateString(value)
        wire.KeyValueStart(b)
        wire.KeyValueAddKey(b, key)
        wire.KeyValueAddValue(b, value)
        pairs.append(wire.KeyValueEnd(b))
    wire.EventStartManagedObjectVector(b, len(pairs))
    for pair in reversed(pairs):
        b.PrependUOffsetTRelative(pair)
    pairs = b.EndVector()
    name, container_id = b.CreateString(name), b.CreateString(CONTAINER_ID)
    wire.EventStart(b)
    wire.EventAddEventName(b, name)
    wire.EventAddEventTime(b, int(time.time() * 1000))
    wire.EventAddContainerId(b, container_id)
    wire.EventAddManagedObject(b, pairs)
    b.Finish(wire.EventEnd(b))
    return bytes(b.Output())


class App:
    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.loop = loop
        self.config = {"greeting": "hello"}
        self.end = asyncio.Event()

    async def log(self, line: str):
        await self.nc.publish("LOG", log_message(line.encode()))

    async def raise_event(self, name: str, **managed_object: str):
        await self.nc.publish("EVENT", event(name, managed_object))
        # Answered once the event is stored: from here on CIM sees to it.
        await self.nc.flush()

    async def load_config(self, config: dict):
        """The first configuration: a JSON document for each data key."""
        self.config = json.loads(config["sample.json"])
        await self.log(f"configured: {self.config}")
        await self.raise_event("Configured", greeting=self.config["greeting"])

    async def update_config(self, change: dict):
        """A change set has one outcome: success, failure, or unused when it means nothing to this application."""
        status, remarks = "success", ""
        if change["data-key"] != "sample.json":
            status, remarks = "unused", f"no {change['data-key']} here"
        else:
            try:
                self.config = jsonpatch.apply_patch(self.config, change["config-patch"])
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, ValueError) as error:
                status, remarks = "failure", str(error)
        await self.log(f"change set {json.dumps(change['revision'])}: {status}, the configuration is {self.config}")
        answer = {"change-set-key": change["change-set-key"], "revision": change["revision"], "status": status, "remarks": remarks}
        await self.nc.publish("CONFIG", json.dumps(answer).encode())
        await self.raise_event("ConfigChanged", revision=str(change["revision"]), status=status)

    async def shut_down(self, _):
        await self.log("shutting down")
        await self.raise_event("ShutdownSuccess", container=CONTAINER)
        self.end.set()

    async def notified(self, message):
        await self.log(f"notified: {message.data.decode(errors='replace')}")

    async def run(self):
        Thread(target=ThreadingHTTPServer(("127.0.0.1", PORT), handler(self)).serve_forever, daemon=True).start()
        self.nc = await nats.connect(NATS)
        await self.nc.subscribe("EVENT-NOTIFICATION", cb=self.notified)
        register = json.dumps({"container_name": CONTAINER, "container_id": CONTAINER_ID}).encode()
        request = urllib.request.Request(f"{CIM}/api/v1/_operations/xgvela/register", register)
        answer = await self.loop.run_in_executor(None, lambda: json.load(urllib.request.urlopen(request)))
        print("registered:", answer["status"], flush=True)
        await self.log("up")
        # Asks for the first configuration.
        await self.raise_event("NotConfigured", container=CONTAINER)
        count = 0
        while not self.end.is_set():
            count += 1
            await self.log(f"{self.config['greeting']} number {count}")
            try:
                await asyncio.wait_for(self.end.wait(), 1)
            except asyncio.TimeoutError:
                pass
        # CIM may have gone already: all that there was is stored.
        await self.nc.close()
        print("ended", flush=True)


def handler(app: App):
    """What CIM asks for. The answer says that it is accepted; how it went follows on CONFIG or EVENT."""
    paths = {
        "/updateConfig": app.update_config,
        "/api/v1/_operations/loadConfig": app.load_config,
        "/api/v1/_operations/shutdown": app.shut_down,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            action = paths.get(self.path)
            self.send_response(200 if action else 404)
            self.end_headers()
            if action:
                asyncio.run_coroutine_threadsafe(action(json.loads(body or b"{}")), app.loop)

        def log_message(self, *_):
            pass

    return Handler


async def main():
    await App(asyncio.get_running_loop()).run()


asyncio.run(main())
