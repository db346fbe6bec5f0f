// A sample application beside CIM. It does what every application with CIM does:
//
//  1. listens on APP_PORT for what CIM asks of it (configuration, shutdown), and says "up" by registering over HTTP;
//  2. publishes its log lines on the NATS subject LOG, and its events on EVENT;
//  3. takes its first configuration (Day-1), and each change of it (updateConfig), and answers on CONFIG how that went;
//  4. hears of other functions' events on EVENT-NOTIFICATION;
//  5. ends when CIM asks it to, and says so with an event.
//
// Folder wire is `flatc --go --gen-onefile --go-namespace wire src/wire/cim.fbs`.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/nats-io/nats.go"

	"cim/examples/go/wire"
)

const container, containerID = "sample-go", "0123456789ab"

type app struct {
	nc     *nats.Conn
	end    chan struct{}
	mutex  sync.Mutex
	config []byte
}

func main() {
	nc, err := nats.Connect(env("CIM_NATS_URL", nats.DefaultURL))
	if err != nil {
		log.Fatal(err)
	}
	a := &app{nc: nc, end: make(chan struct{}), config: []byte(`{"greeting":"hello"}`)}
	if _, err := nc.Subscribe("EVENT-NOTIFICATION", func(m *nats.Msg) { a.log("notified: %s", m.Data) }); err != nil {
		log.Fatal(err)
	}
	// The answer to each says that it is accepted; how it went follows on CONFIG or EVENT.
	for path, action := range map[string]func([]byte){
		"/updateConfig":                  a.updateConfig,
		"/api/v1/_operations/loadConfig": a.loadConfig,
		"/api/v1/_operations/shutdown":   a.shutDown,
	} {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if body, err := io.ReadAll(r.Body); err == nil {
				go action(body)
			}
		})
	}
	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:"+env("APP_PORT", "9999"), nil)) }()

	body, _ := json.Marshal(map[string]string{"container_name": container, "container_id": containerID})
	answer, err := http.Post(env("CIM_HTTP_URL", "http://127.0.0.1:6060")+"/api/v1/_operations/xgvela/register", "application/json", bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("registered:", answer.Status)
	a.log("up")
	// Asks for the first configuration.
	a.raise("NotConfigured", "container", container)
	for count := 1; ; count++ {
		a.log("%s number %d", a.greeting(), count)
		select {
		case <-time.After(time.Second):
		case <-a.end:
			// CIM may have gone already: all that there was is stored.
			nc.Close()
			fmt.Println("ended")
			return
		}
	}
}

// log publishes a line: FlatBuffers LogMessage. A line is bytes, and need not be UTF-8.
func (a *app) log(format string, values ...any) {
	b := flatbuffers.NewBuilder(256)
	line := b.CreateByteString(fmt.Appendf(nil, format, values...))
	name, id := b.CreateString(container), b.CreateString(containerID)
	wire.LogMessageStart(b)
	wire.LogMessageAddPayload(b, line)
	wire.LogMessageAddContainerName(b, name)
	wire.LogMessageAddContainerId(b, id)
	b.Finish(wire.LogMessageEnd(b))
	if err := a.nc.Publish("LOG", b.FinishedBytes()); err != nil {
		log.Print(err)
	}
}

// raise publishes an event with one managed object: FlatBuffers Event. It is stored when raise returns: from here on CIM sees to it.
func (a *app) raise(name, key, value string) {
	b := flatbuffers.NewBuilder(256)
	k, v := b.CreateString(key), b.CreateString(value)
	wire.KeyValueStart(b)
	wire.KeyValueAddKey(b, k)
	wire.KeyValueAddValue(b, v)
	pair := wire.KeyValueEnd(b)
	wire.EventStartManagedObjectVector(b, 1)
	b.PrependUOffsetT(pair)
	pairs := b.EndVector(1)
	n, id := b.CreateString(name), b.CreateString(containerID)
	wire.EventStart(b)
	wire.EventAddEventName(b, n)
	wire.EventAddEventTime(b, time.Now().UnixMilli())
	wire.EventAddContainerId(b, id)
	wire.EventAddManagedObject(b, pairs)
	b.Finish(wire.EventEnd(b))
	if err := a.nc.Publish("EVENT", b.FinishedBytes()); err != nil {
		log.Print(err)
	}
	if err := a.nc.Flush(); err != nil {
		log.Print(err)
	}
}

// loadConfig takes the first configuration: a JSON document, as text, for each data key.
func (a *app) loadConfig(body []byte) {
	var documents map[string]string
	if err := json.Unmarshal(body, &documents); err != nil {
		a.log("no first configuration: %v", err)
		return
	}
	a.set([]byte(documents["sample.json"]))
	a.log("configured: %s", a.current())
	a.raise("Configured", "greeting", a.greeting())
}

// updateConfig: a change set has one outcome: success, failure, or unused when it means nothing to this application.
func (a *app) updateConfig(body []byte) {
	var change struct {
		Key      string          `json:"change-set-key"`
		DataKey  string          `json:"data-key"`
		Patch    string          `json:"config-patch"`
		Revision json.RawMessage `json:"revision"`
	}
	if err := json.Unmarshal(body, &change); err != nil {
		a.log("no change set: %v", err)
		return
	}
	status, remarks := "success", ""
	if change.DataKey != "sample.json" {
		status, remarks = "unused", "no "+change.DataKey+" here"
	} else if patched, err := patch(a.current(), change.Patch); err != nil {
		status, remarks = "failure", err.Error()
	} else {
		a.set(patched)
	}
	a.log("change set %s: %s, the configuration is %s", change.Revision, status, a.current())
	answer, _ := json.Marshal(map[string]any{
		"change-set-key": change.Key, "revision": change.Revision, "status": status, "remarks": remarks,
	})
	if err := a.nc.Publish("CONFIG", answer); err != nil {
		log.Print(err)
	}
	a.raise("ConfigChanged", "status", status)
}

func (a *app) shutDown([]byte) {
	a.log("shutting down")
	a.raise("ShutdownSuccess", "container", container)
	close(a.end)
}

func (a *app) current() []byte {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.config
}

func (a *app) set(config []byte) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.config = config
}

func (a *app) greeting() string {
	var config struct{ Greeting string }
	_ = json.Unmarshal(a.current(), &config)
	return config.Greeting
}

func patch(document []byte, text string) ([]byte, error) {
	patch, err := jsonpatch.DecodePatch([]byte(text))
	if err != nil {
		return nil, err
	}
	return patch.Apply(document)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
