package kafkatest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// node is one process of a cluster, a broker or the controller.
type node struct {
	id   int
	port int
	dir  string
	// Where KafkaConfig.Front is set: where it listens for clients, and what they are
	// told.
	clients, front string

	java   string
	args   []string // of java, up to the class path
	parent *parent

	mu     sync.Mutex // held while the process starts or ends
	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd was waited for
	frozen bool
}

func (n *node) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port)) }

func (n *node) data() string { return filepath.Join(n.dir, "data") }

// role returns the properties that make n what it is, in a cluster whose
// controller has the given port.
func (n *node) role(controller int) map[string]string {
	p := map[string]string{
		"node.id":                        strconv.Itoa(n.id),
		"log.dirs":                       n.data(),
		"controller.quorum.voters":       fmt.Sprintf("%d@127.0.0.1:%d", controllerID, controller),
		"controller.listener.names":      "CONTROLLER",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
	}
	if n.id == controllerID {
		p["process.roles"] = "controller"
		p["listeners"] = "CONTROLLER://" + n.addr()
	} else {
		p["process.roles"] = "broker"
		p["listeners"] = "PLAINTEXT://" + n.addr()
		p["inter.broker.listener.name"] = "PLAINTEXT"
		if n.front != "" {
			p["listeners"] += ",CLIENTS://" + n.clients
			p["advertised.listeners"] = "PLAINTEXT://" + n.addr() + ",CLIENTS://" + n.front
			p["listener.security.protocol.map"] += ",CLIENTS:PLAINTEXT"
		}
	}
	return p
}

// format makes n's directory what Kafka's StorageTool would make it.
func (n *node) format(inst *installation, cluster string, properties map[string]string) error {
	if err := os.MkdirAll(n.data(), 0o700); err != nil {
		return err
	}
	meta := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", cluster, n.id, randomID())
	if err := os.WriteFile(filepath.Join(n.data(), "meta.properties"), []byte(meta), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.data(), "bootstrap.checkpoint"), inst.bootstrap, 0o600); err != nil {
		return err
	}
	return writeProperties(n.propertiesFile(), properties)
}

func (n *node) propertiesFile() string { return filepath.Join(n.dir, "server.properties") }

func writeProperties(path string, properties map[string]string) error {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", key, properties[key])
	}
	return os.WriteFile(path, []byte(text.String()), 0o600)
}

// launch starts the process, unless it runs.
func (n *node) launch() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running() {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	// A killed Java leaves its unpacked libraries behind, in its own directory then.
	cmd := exec.Command(n.java, append(slices.Clone(n.args), "-Djava.io.tmpdir="+n.dir, "kafka.Kafka", n.propertiesFile())...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, log, log
	if err := n.parent.start(cmd); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // by a signal, as a rule
	}()
	n.cmd, n.ended, n.frozen = cmd, ended, false
	return nil
}

// running must be called with mu held.
func (n *node) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return 0
	}
	return n.cmd.Process.Pid
}

// serving says whether the process runs and is not frozen.
func (n *node) serving() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running() && !n.frozen
}

// gone says whether the process has ended.
func (n *node) gone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.running()
}

func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running() {
		_ = n.cmd.Process.Kill()
		<-n.ended
	}
}

func (n *node) stop(patience time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return nil
	}
	if n.frozen {
		return fmt.Errorf("kafkatest: broker %d is frozen: it cannot shut down", n.id)
	}
	if err := terminate(n.cmd.Process); err != nil {
		return err
	}
	select {
	case <-n.ended:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("kafkatest: broker %d has not shut down in %v", n.id, patience)
	}
}

func (n *node) freeze() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return fmt.Errorf("kafkatest: broker %d does not run: it cannot be frozen", n.id)
	}
	if err := suspend(n.cmd.Process); err != nil {
		return err
	}
	n.frozen = true
	return nil
}

func (n *node) thaw() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() || !n.frozen {
		return nil
	}
	n.frozen = false
	return resume(n.cmd.Process)
}

// parent starts processes that are to end with this one. Linux kills them when
// the thread that started them ends: so it is one thread, locked, until close.
type parent struct {
	starts  chan func()
	closing sync.Once
}

func newParent() *parent {
	p := &parent{starts: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for start := range p.starts {
			start()
		}
	}()
	return p
}

func (p *parent) start(cmd *exec.Cmd) (err error) {
	cmd.SysProcAttr = childAttributes()
	done := make(chan struct{})
	p.starts <- func() {
		defer close(done)
		err = cmd.Start()
	}
	<-done
	return err
}

// run starts cmd and waits for it; an error has what it wrote.
func (p *parent) run(cmd *exec.Cmd) error {
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := p.start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, text.String())
	}
	return nil
}

func (p *parent) close() { p.closing.Do(func() { close(p.starts) }) }

// freePorts returns n ports that nobody uses, outside the ephemeral range.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := listenStable() // held until there are all: they differ
		if err != nil {
			return nil, err
		}
		defer l.Close() //nolint:errcheck // it was never used
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, errors.New("kafkatest: a TCP listener has another address")
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}

// randomID returns an id as Kafka writes them: 16 bytes.
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x3f           // Kafka refuses one that begins with a hyphen
	return base64.RawURLEncoding.EncodeToString(b[:])
}
