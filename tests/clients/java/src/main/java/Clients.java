import io.nats.client.Connection;
import io.nats.client.ErrorListener;
import io.nats.client.Message;
import io.nats.client.Nats;
import io.nats.client.Options;
import io.nats.client.Subscription;
import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.BooleanSupplier;
import java.util.function.UnaryOperator;

/**
 * The checks of tests/clients/README.md with the public client nats.java, unchanged.
 *
 * <p>Usage: java Clients HOST:PORT (or NATS_ADDRESS). One line a check: "ok NAME" or "FAIL NAME: why". Exit 1 when one failed.
 */
public final class Clients {
    /** How long anything that must happen may take. */
    static final Duration LIMIT = Duration.ofSeconds(10);
    /** How long to wait for something that must not happen. */
    static final Duration QUIET = Duration.ofMillis(200);

    interface Check {
        void run() throws Exception;
    }

    static String address;
    private static final BufferedReader STDIN =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    static final class Failed extends Exception {
        private static final long serialVersionUID = 1;

        Failed(String why) {
            super(why);
        }
    }

    static void want(boolean condition, String why) throws Failed {
        if (!condition) {
            throw new Failed(why);
        }
    }

    static Connection connect() throws Exception {
        return connect(options -> options);
    }

    static Connection connect(UnaryOperator<Options.Builder> more) throws Exception {
        // The default listeners of the client write to a logger.
        Options.Builder options = new Options.Builder().server("nats://" + address).errorListener(new ErrorListener() {});
        return Nats.connect(more.apply(options).build());
    }

    /** Asks the harness to do something to the server and waits until it is done. */
    static void control(String what) throws Exception {
        System.out.println("control " + what);
        String answer = STDIN.readLine();
        want("done".equals(answer), "control " + what + ": answer " + answer);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }

    static String text(byte[] data) {
        return new String(data, StandardCharsets.ISO_8859_1);
    }

    static Message next(Subscription sub) throws Exception {
        Message m = sub.nextMessage(LIMIT);
        want(m != null, "no message within " + LIMIT);
        return m;
    }

    static void expect(Subscription sub, String payload) throws Exception {
        Message m = sub.nextMessage(LIMIT);
        want(m != null, "\"" + payload + "\" did not come");
        want(text(m.getData()).equals(payload), "got \"" + text(m.getData()) + "\", wanted \"" + payload + "\"");
    }

    static void expectNone(Subscription sub) throws Exception {
        Message m = sub.nextMessage(QUIET);
        want(m == null, "unexpected message " + m);
    }

    static void eventually(String what, BooleanSupplier condition) throws Exception {
        long end = System.nanoTime() + LIMIT.toNanos();
        while (!condition.getAsBoolean()) {
            want(System.nanoTime() < end, "not within " + LIMIT + ": " + what);
            Thread.sleep(1);
        }
    }

    /** A connection that says CONNECT with the given options, after the first PONG. */
    static Socket raw(String options, String more) throws Exception {
        int colon = address.lastIndexOf(':');
        Socket socket = new Socket(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)));
        socket.setSoTimeout((int) LIMIT.toMillis());
        socket.getOutputStream().write(bytes("CONNECT {" + options + "}\r\n" + more + "PING\r\n"));
        while (!readLine(socket.getInputStream()).equals("PONG\r\n")) {}
        return socket;
    }

    /** One line with its end; what came before the end of the stream when there is none. */
    static String readLine(InputStream in) throws Exception {
        StringBuilder line = new StringBuilder();
        for (int b = in.read(); b >= 0; b = in.read()) {
            line.append((char) b);
            if (b == '\n') {
                return line.toString();
            }
        }
        throw new Failed("closed after \"" + line + "\"");
    }

    public static void main(String[] args) {
        address = args.length > 0 ? args[0] : System.getenv("NATS_ADDRESS");
        if (address == null) {
            System.err.println("usage: Clients HOST:PORT");
            System.exit(2);
        }
        Map<String, Check> checks = new LinkedHashMap<>();
        Core.register(checks);
        Log.register(checks);
        boolean failed = false;
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            try {
                check.getValue().run();
                System.out.println("ok " + check.getKey());
            } catch (Exception error) {
                failed = true;
                System.out.println("FAIL " + check.getKey() + ": " + error.toString().replace('\n', ' '));
            }
        }
        System.exit(failed ? 1 : 0);
    }

    private Clients() {}
}
