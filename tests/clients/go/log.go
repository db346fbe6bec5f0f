package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

const (
	container   = "clients-go"
	containerID = "0123456789ab"
	// Lines that the check log_flush publishes; the harness knows the number too.
	logLines = 20_000
)

// logMessage is a FlatBuffers LogMessage as the standard runtimes write it: root offset, vtable, table, three strings.
func logMessage(name, id string, payload []byte) []byte {
	b := []byte{
		16, 0, 0, 0, 0, 0, // the table is at 16; padding
		10, 0, 16, 0, 12, 0, 8, 0, 4, 0, // vtable at 6: its size, the table's, where container_id, container_name, payload are
		10, 0, 0, 0, // table at 16: 10 bytes back to the vtable
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // offsets of payload, container_name, container_id
	}
	for field, text := range [][]byte{payload, []byte(name), []byte(id)} {
		at := 20 + 4*field
		binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		b = append(append(b, text...), 0)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

func logToSubscribers() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("LOG")
	if err != nil {
		return err
	}
	// CIM's own lines pass here too.
	wanted := logMessage(container+"-copy", containerID, []byte("a copy for ordinary subscribers"))
	if err := nc.Publish("LOG", wanted); err != nil {
		return err
	}
	for {
		m, err := sub.NextMsg(limit)
		if err != nil {
			return err
		}
		if string(m.Data) == string(wanted) {
			return nil
		}
	}
}

func logFlush() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	for n := range logLines {
		line := fmt.Appendf(nil, "line %05d é \xff", n)
		if err := nc.Publish("LOG", logMessage(container, containerID, line)); err != nil {
			return err
		}
	}
	// The harness reads the file as soon as it sees "ok log_flush": the answer to the flush means stored.
	return nc.FlushTimeout(limit)
}

func logAck() error {
	nc, err := connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	ask := func(buffer []byte) (map[string]any, error) {
		m, err := nc.Request("LOG", buffer, limit)
		if errors.Is(err, nats.ErrNoResponders) {
			return nil, errors.New("nobody answers: not CIM?")
		}
		if err != nil {
			return nil, err
		}
		answer := map[string]any{}
		return answer, json.Unmarshal(m.Data, &answer)
	}
	stored, err := ask(logMessage(container+"-ack", containerID, []byte("acknowledged")))
	if err != nil {
		return err
	}
	if seq, _ := stored["seq"].(float64); stored["stream"] != "LOG" || seq < 1 {
		return fmt.Errorf("answer %v", stored)
	}
	refused, err := ask([]byte("no FlatBuffer"))
	if err != nil {
		return err
	}
	if _, ok := refused["error"].(map[string]any); !ok {
		return fmt.Errorf("answer to a malformed buffer: %v", refused)
	}
	return nil
}
