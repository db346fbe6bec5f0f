package server

// Added to a copy of the nats-server module: its Server, with its Go API as far as the suites use it, is a process outside, so that tests
// written against the package drive any server unchanged. The methods here take the place of those of the same name, which the rig renames
// (suites.rs): Start runs the program NATS_FRONT with the flags -a, -p and -m, and with -c for what flags do not say.

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	outsideStart = 10 * time.Second // from the start of the process to "Server is ready"
	outsideStop  = 10 * time.Second // from SIGTERM to its end
	outsideHTTP  = 5 * time.Second
)

type outside struct {
	cmd       *exec.Cmd
	monitor   *net.TCPAddr
	isReady   chan struct{} // closed when it serves
	reloaded  chan error    // what came of a SIGHUP
	ended     chan struct{} // closed when the process has ended, or never began
	dir       string
	terminate sync.Once
}

var (
	outsideMu  sync.Mutex
	outsides   = map[*Server]*outside{}
	outsideTLS sync.Map // *tls.Config -> *TLSConfigOpts
)

// GenTLSConfig remembers the files of a configuration.
func GenTLSConfig(tc *TLSConfigOpts) (*tls.Config, error) {
	c, err := insideGenTLSConfig(tc)
	if err == nil {
		outsideTLS.Store(c, tc)
	}
	return c, err
}

func (s *Server) outside() *outside {
	outsideMu.Lock()
	defer outsideMu.Unlock()
	p := outsides[s]
	if p == nil {
		p = &outside{isReady: make(chan struct{}), reloaded: make(chan error, 1), ended: make(chan struct{})}
		outsides[s] = p
	}
	return p
}

func (s *Server) Start() {
	p := s.outside()
	if err := p.start(s.getOpts()); err != nil {
		fmt.Fprintf(os.Stderr, "the server did not start: %v\n", err)
	}
}

func (p *outside) start(o *Options) (err error) {
	defer func() {
		if p.cmd == nil {
			close(p.ended)
		}
	}()
	host, port := o.Host, o.Port
	if host == "" {
		host = "127.0.0.1"
	}
	if port == 0 { // what became of -1
		port = -1
	}
	args := []string{"-a", host, "-p", strconv.Itoa(port)}
	if o.HTTPPort != 0 {
		args = append(args, "-m", strconv.Itoa(o.HTTPPort))
	} else if o.HTTPSPort == 0 {
		args = append(args, "-m", "-1") // Varz and the like ask it
	}
	if p.dir, err = os.MkdirTemp("", "outside"); err != nil {
		return err
	}
	file, err := p.configuration(o)
	if err != nil {
		return err
	}
	if file != "" {
		args = append(args, "-c", file)
	}
	cmd := exec.Command(os.Getenv("NATS_FRONT"), args...)
	// It ends with the tests, whatever ends them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	lines, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd = cmd
	ready := make(chan struct{})
	go func() {
		p.read(bufio.NewScanner(lines), o, ready)
		cmd.Wait()
		close(p.ended)
	}()
	select {
	case <-ready:
		close(p.isReady)
		return nil
	case <-p.ended:
		return fmt.Errorf("%v: %v", args, cmd.ProcessState)
	case <-time.After(outsideStart):
		return fmt.Errorf("%v: not ready after %v", args, outsideStart)
	}
}

// read takes the addresses from the lines of the log.
func (p *outside) read(lines *bufio.Scanner, o *Options, ready chan struct{}) {
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(os.Stderr, line)
		if ready == nil {
			if strings.Contains(line, "Reloaded server configuration") {
				p.reloaded <- nil
			} else if _, why, ok := strings.Cut(line, "Failed to reload server configuration: "); ok {
				p.reloaded <- errors.New(why)
			}
		} else if _, addr, ok := strings.Cut(line, "Listening for client connections on "); ok {
			if _, port, err := net.SplitHostPort(addr); err == nil {
				o.Port, _ = strconv.Atoi(port)
			}
		} else if _, addr, ok := strings.Cut(line, "Starting http monitor on "); ok {
			if _, port, err := net.SplitHostPort(addr); err == nil {
				number, _ := strconv.Atoi(port)
				p.monitor = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: number}
			}
		} else if strings.Contains(line, "Server is ready") {
			close(ready)
			ready = nil
		}
	}
}

// configuration gives the file that says what o does: the one that o was read from, if nothing has been changed since.
func (p *outside) configuration(o *Options) (string, error) {
	text, err := outsideText(o)
	if o.ConfigFile != "" {
		if f, ferr := ProcessConfigFile(o.ConfigFile); ferr == nil {
			setBaselineOptions(f)
			if same, serr := outsideText(f); serr == nil && err == nil && same == text {
				return o.ConfigFile, nil
			}
		}
	}
	if err != nil || text == "" {
		return "", err
	}
	file := filepath.Join(p.dir, "nats.conf")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// outsideText writes the options that flags do not carry, as far as they are not the default.
func outsideText(o *Options) (string, error) {
	for _, beyond := range []struct {
		what string
		is   bool
	}{
		{"JetStream", o.JetStream},
		{"clustering", o.Cluster.Port != 0 || len(o.Routes) > 0},
		{"a websocket", o.Websocket.Port != 0},
		{"a leaf node", o.LeafNode.Port != 0 || len(o.LeafNode.Remotes) > 0},
		{"a gateway", o.Gateway.Port != 0 || o.Gateway.Name != ""},
		{"MQTT", o.MQTT.Port != 0},
		{"JWT", len(o.TrustedKeys) > 0 || len(o.TrustedOperators) > 0 || o.AccountResolver != nil},
		{"custom authentication", o.CustomClientAuthentication != nil || o.AuthCallout != nil},
	} {
		if beyond.is {
			return "", errors.New(beyond.what + " is not for a server outside")
		}
	}
	d := &Options{}
	setBaselineOptions(d)
	var b strings.Builder
	add := func(is bool, key string, value any) {
		switch v := value.(type) {
		case string:
			value = strconv.Quote(v)
		case time.Duration:
			value = strconv.Quote(v.String())
		}
		if is {
			fmt.Fprintf(&b, "%s: %v\n", key, value)
		}
	}
	add(o.ServerName != "" && !strings.HasPrefix(o.ServerName, "N"), "server_name", o.ServerName)
	add(o.ClientAdvertise != "", "client_advertise", o.ClientAdvertise)
	add(o.MaxControlLine != d.MaxControlLine, "max_control_line", o.MaxControlLine)
	add(o.MaxPayload != d.MaxPayload, "max_payload", o.MaxPayload)
	add(o.MaxPending != d.MaxPending, "max_pending", o.MaxPending)
	add(o.MaxConn != d.MaxConn, "max_connections", o.MaxConn)
	add(o.MaxSubs != 0, "max_subscriptions", o.MaxSubs)
	add(o.PingInterval != d.PingInterval, "ping_interval", o.PingInterval)
	add(o.MaxPingsOut != d.MaxPingsOut, "ping_max", o.MaxPingsOut)
	add(o.WriteDeadline != d.WriteDeadline, "write_deadline", o.WriteDeadline)
	add(o.NoHeaderSupport, "no_header_support", true)
	add(o.NoSystemAccount, "no_system_account", true)
	add(o.NoAuthUser != "", "no_auth_user", o.NoAuthUser)
	add(o.AllowNonTLS, "allow_non_tls", true)
	timeout := getDefaultAuthTimeout(o.TLSConfig, o.TLSTimeout)
	if o.Username != "" || o.Authorization != "" || len(o.Users)+len(o.Nkeys) > 0 || o.AuthTimeout != timeout {
		b.WriteString("authorization {\n")
		add(o.Username != "", "user", o.Username)
		add(o.Username != "", "password", o.Password)
		add(o.Authorization != "", "token", o.Authorization)
		add(o.AuthTimeout != timeout, "timeout", o.AuthTimeout)
		users := []string{}
		for _, u := range o.Users {
			users = append(users, fmt.Sprintf("{user: %q, password: %q%s}", u.Username, u.Password, outsidePermissions(u.Permissions)))
		}
		for _, u := range o.Nkeys {
			users = append(users, fmt.Sprintf("{nkey: %q%s}", u.Nkey, outsidePermissions(u.Permissions)))
		}
		if len(users) > 0 {
			fmt.Fprintf(&b, "users: [\n%s\n]\n", strings.Join(users, "\n"))
		}
		b.WriteString("}\n")
	}
	if o.TLSConfig != nil {
		files := o.tlsConfigOpts
		if v, ok := outsideTLS.Load(o.TLSConfig); ok {
			files = v.(*TLSConfigOpts)
		}
		if files == nil {
			return "", errors.New("a TLS configuration without files is not for a server outside")
		}
		b.WriteString("tls {\n")
		for _, f := range [][2]string{{"cert_file", files.CertFile}, {"key_file", files.KeyFile}, {"ca_file", files.CaFile}} {
			path, err := filepath.Abs(f[1])
			if err != nil {
				return "", err
			}
			add(f[1] != "", f[0], path)
		}
		add(files.Verify || o.TLSVerify, "verify", true)
		add(o.TLSMap, "verify_and_map", true)
		add(o.TLSTimeout > 0, "timeout", o.TLSTimeout)
		add(o.TLSHandshakeFirst, "handshake_first", true)
		b.WriteString("}\n")
	}
	return b.String(), nil
}

func outsidePermissions(p *Permissions) string {
	if p == nil {
		return ""
	}
	rules := func(s *SubjectPermission) string {
		list := func(key string, subjects []string) string {
			if subjects == nil {
				return ""
			}
			text := key + ": ["
			for _, subject := range subjects {
				text += strconv.Quote(subject) + ", "
			}
			return text + "], "
		}
		return "{" + list("allow", s.Allow) + list("deny", s.Deny) + "}, "
	}
	text := ", permissions: {"
	if p.Publish != nil {
		text += "publish: " + rules(p.Publish)
	}
	if p.Subscribe != nil {
		text += "subscribe: " + rules(p.Subscribe)
	}
	if p.Response != nil {
		text += fmt.Sprintf("allow_responses: {max: %d, expires: %q}", p.Response.MaxMsgs, p.Response.Expires)
	}
	return text + "}"
}

func (p *outside) running() bool {
	select {
	case <-p.ended:
		return false
	case <-p.isReady:
		return true
	}
}

// ReadyForConnections is true when the server did not start, too: its test fails, and not all of them.
func (s *Server) ReadyForConnections(d time.Duration) bool {
	p := s.outside()
	select {
	case <-p.isReady:
	case <-p.ended:
	case <-time.After(d):
		return false
	}
	return true
}

func (s *Server) Shutdown() {
	p := s.outside()
	if p.cmd == nil {
		return
	}
	p.terminate.Do(func() {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(outsideStop):
			fmt.Fprintf(os.Stderr, "the server did not end within %v\n", outsideStop)
			p.cmd.Process.Kill()
			<-p.ended
		}
		os.RemoveAll(p.dir)
	})
}

// Reload waits for the line of the log that is its answer.
func (s *Server) Reload() error {
	p := s.outside()
	if !p.running() {
		return errors.New("the server is not running")
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	select {
	case answer := <-p.reloaded:
		return answer
	case <-p.ended:
		return errors.New("the server has ended")
	case <-time.After(outsideStart):
		return fmt.Errorf("no answer to SIGHUP after %v", outsideStart)
	}
}

func (s *Server) Addr() net.Addr {
	if !s.outside().running() {
		return nil
	}
	o := s.getOpts()
	ip := net.ParseIP(o.Host)
	if ip == nil {
		ip = net.IPv4(127, 0, 0, 1)
	}
	return &net.TCPAddr{IP: ip, Port: o.Port}
}

// get asks the monitor.
func (s *Server) get(path string, v any) error {
	p := s.outside()
	if !p.running() || p.monitor == nil {
		return errors.New("the server has no monitor")
	}
	client := http.Client{Timeout: outsideHTTP}
	r, err := client.Get("http://" + p.monitor.String() + "/" + path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

func (s *Server) Varz(*VarzOptions) (*Varz, error) {
	v := &Varz{}
	return v, s.get("varz", v)
}

func (s *Server) Connz(o *ConnzOptions) (*Connz, error) {
	path := "connz"
	if o != nil && o.State == ConnClosed {
		path += "?state=closed"
	}
	v := &Connz{}
	return v, s.get(path, v)
}

func (s *Server) NumClients() int {
	v, err := s.Varz(nil)
	if err != nil {
		return -1
	}
	return v.Connections
}

func (s *Server) NumSlowConsumers() int64 {
	v, err := s.Varz(nil)
	if err != nil {
		return -1
	}
	return v.SlowConsumers
}

// NumSubscriptions counts those of clients, not a server's own.
func (s *Server) NumSubscriptions() uint32 {
	v, err := s.Connz(nil)
	if err != nil {
		return 0
	}
	count := uint32(0)
	for _, c := range v.Conns {
		count += c.NumSubs
	}
	return count
}
