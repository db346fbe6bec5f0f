import io.nats.client.Connection;
import io.nats.client.Message;
import io.nats.client.Subscription;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;

/** Subject LOG: what CIM adds. */
final class Log {
    private static final String CONTAINER = "clients-java";
    private static final String CONTAINER_ID = "0123456789ab";
    /** Lines that the check log_flush publishes; the harness knows the number too. */
    private static final int LOG_LINES = 20_000;

    static void register(Map<String, Clients.Check> checks) {
        checks.put("log_to_subscribers", Log::toSubscribers);
        checks.put("log_flush", Log::flush);
        checks.put("log_ack", Log::ack);
    }

    /** FlatBuffers LogMessage as the standard runtimes write it: root offset, vtable, table, three strings. */
    static byte[] message(String name, String id, String payload) {
        String[] texts = {payload, name, id};
        int size = 32;
        for (String text : texts) {
            size += stringSize(text);
        }
        ByteBuffer b = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        b.putInt(16).putShort((short) 0); // the table is at 16; padding
        // The vtable, at 6: its size, the table's, where container_id, container_name and payload are.
        b.putShort((short) 10).putShort((short) 16).putShort((short) 12).putShort((short) 8).putShort((short) 4);
        b.putInt(10); // the table: 10 bytes back to the vtable
        int at = 32;
        for (int field = 0; field < texts.length; field++) {
            int fieldAt = 20 + 4 * field;
            b.putInt(fieldAt, at - fieldAt);
            byte[] text = Clients.bytes(texts[field]);
            b.putInt(at, text.length).position(at + 4);
            b.put(text);
            at += stringSize(texts[field]);
        }
        return b.array();
    }

    /** Length, bytes, a zero byte, padding to 4. */
    private static int stringSize(String text) {
        return 4 + (text.length() + 4) / 4 * 4;
    }

    private static void toSubscribers() throws Exception {
        try (Connection nc = Clients.connect()) {
            Subscription sub = nc.subscribe("LOG");
            byte[] wanted = message(CONTAINER + "-copy", CONTAINER_ID, "a copy for ordinary subscribers");
            nc.publish("LOG", wanted);
            // CIM's own lines pass here too.
            while (!Arrays.equals(Clients.next(sub).getData(), wanted)) {}
        }
    }

    private static void flush() throws Exception {
        try (Connection nc = Clients.connect()) {
            for (int n = 0; n < LOG_LINES; n++) {
                // Characters stand for bytes here: an e with an accent in UTF-8, and a byte that is none.
                String line = String.format("line %05d \u00c3\u00a9 \u00ff", n);
                nc.publish("LOG", message(CONTAINER, CONTAINER_ID, line));
            }
            // The harness reads the file as soon as it sees "ok log_flush": the answer to the flush means stored.
            nc.flush(Clients.LIMIT);
        }
    }

    private static void ack() throws Exception {
        try (Connection nc = Clients.connect()) {
            String stored = ask(nc, message(CONTAINER + "-ack", CONTAINER_ID, "acknowledged"));
            Clients.want(
                    stored.contains("\"stream\":\"LOG\"") && stored.matches(".*\"seq\":[1-9][0-9]*[,}].*"),
                    "answer " + stored);
            String refused = ask(nc, Clients.bytes("no FlatBuffer"));
            Clients.want(refused.contains("\"error\":{"), "answer to a malformed buffer: " + refused);
        }
    }

    private static String ask(Connection nc, byte[] buffer) throws Exception {
        try {
            Message m = nc.request("LOG", buffer).get(10, TimeUnit.SECONDS);
            return Clients.text(m.getData());
        } catch (CancellationException nobody) {
            throw new Clients.Failed("nobody answers: not CIM?");
        }
    }

    private Log() {}
}
