package kafkatest

import (
	"fmt"
	"net"
	"sync"
)

// Network makes listeners that can be broken on purpose: their connections
// dropped, the listener taken away and brought back on the same port, everything
// frozen. It goes into kfake.ListenFn; [Start] does that.
//
// The zero value is ready to use. Its methods may be called concurrently.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener // by address; a closed one has left
}

// Listen has the signature that kfake.ListenFn wants. Port 0 is given a port
// outside the ephemeral range.
func (n *Network) Listen(network, address string) (net.Listener, error) {
	var socket net.Listener
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		socket, err = listenStable()
	} else {
		socket, err = net.Listen(network, address)
	}
	if err != nil {
		return nil, err
	}
	l := &listener{
		network: n,
		addr:    socket.Addr(),
		socket:  socket,
		changed: make(chan struct{}),
		closed:  make(chan struct{}),
		conns:   make(map[*conn]struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = make(map[string]*listener)
	}
	n.listeners[l.addr.String()] = l
	return l, nil
}

// Drop closes the connections of addr, as a restarted load balancer does, and
// returns how many there were. New ones are accepted at once.
func (n *Network) Drop(addr string) (int, error) {
	l, err := n.listener(addr)
	if err != nil {
		return 0, err
	}
	return l.drop(false), nil
}

// Reset is Drop with a TCP reset: what was sent and not yet read is lost.
func (n *Network) Reset(addr string) (int, error) {
	l, err := n.listener(addr)
	if err != nil {
		return 0, err
	}
	return l.drop(true), nil
}

// Kill closes the listener of addr and its connections: dials are refused until
// [Network.Revive]. A frozen listener is not frozen any more.
func (n *Network) Kill(addr string) error {
	l, err := n.listener(addr)
	if err != nil {
		return err
	}
	l.swap(nil)
	l.drop(false)
	l.thaw() // last: what the frozen broker owed dies with it
	return nil
}

// Revive listens again on the port that [Network.Kill] gave up.
func (n *Network) Revive(addr string) error {
	l, err := n.listener(addr)
	if err != nil {
		return err
	}
	l.mu.Lock()
	up := l.socket != nil
	l.mu.Unlock()
	if up {
		return nil
	}
	socket, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	l.swap(socket)
	return nil
}

// Freeze makes addr neither answer nor close: it is a process that was stopped.
// The kernel still accepts connections and bytes for it.
func (n *Network) Freeze(addr string) error {
	l, err := n.listener(addr)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thawed == nil {
		l.thawed = make(chan struct{})
	}
	return nil
}

// Thaw ends [Network.Freeze]: what came meanwhile is now read and answered.
func (n *Network) Thaw(addr string) error {
	l, err := n.listener(addr)
	if err != nil {
		return err
	}
	l.thaw()
	return nil
}

// Connections returns how many connections to addr are open.
func (n *Network) Connections(addr string) int {
	l, err := n.listener(addr)
	if err != nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

func (n *Network) listener(addr string) (*listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.listeners[addr]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("kafkatest: nobody listens on %s", addr)
}

// listener outlives its socket: Kill takes the socket away, Revive brings a new
// one, and whoever is in Accept does not notice.
type listener struct {
	network *Network
	addr    net.Addr
	closed  chan struct{}

	mu      sync.Mutex
	socket  net.Listener  // nil while killed
	changed chan struct{} // closed, and replaced, with every change of socket
	thawed  chan struct{} // nil unless frozen; Thaw closes it
	conns   map[*conn]struct{}
	done    bool // closed is closed
}

// Addr returns the same address for all of the listener's sockets.
func (l *listener) Addr() net.Addr { return l.addr }

// Accept waits through the time in which the listener is killed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		socket, changed, done := l.socket, l.changed, l.done
		l.mu.Unlock()
		if done {
			return nil, net.ErrClosed
		}
		if socket == nil {
			select {
			case <-changed:
			case <-l.closed:
			}
			continue
		}
		raw, err := socket.Accept()
		if err == nil {
			if c := l.adopt(socket, raw); c != nil {
				return c, nil
			}
			continue
		}
		l.mu.Lock()
		killed := l.socket != socket
		l.mu.Unlock()
		if !killed {
			return nil, err
		}
	}
}

// adopt makes raw one of the listener's connections, unless socket, which it
// came from, was taken away meanwhile.
func (l *listener) adopt(socket net.Listener, raw net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socket != socket {
		_ = raw.Close()
		return nil
	}
	c := &conn{Conn: raw, listener: l, closed: make(chan struct{})}
	l.conns[c] = struct{}{}
	return c
}

// Close ends Accept. Connections stay open, as those of a node that was removed
// from a kfake cluster do; Kill first to take them along.
func (l *listener) Close() error {
	l.swap(nil)
	l.mu.Lock()
	if !l.done {
		l.done = true
		close(l.closed)
	}
	l.mu.Unlock()

	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.network.listeners[l.addr.String()] == l {
		delete(l.network.listeners, l.addr.String())
	}
	return nil
}

// swap puts socket in the place of the present one, which it closes.
func (l *listener) swap(socket net.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done { // a Revive that lost against Close
		if socket != nil {
			_ = socket.Close()
		}
		return
	}
	if l.socket != nil {
		_ = l.socket.Close()
	}
	l.socket = socket
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *listener) drop(reset bool) int {
	l.mu.Lock()
	conns := l.conns
	l.conns = make(map[*conn]struct{})
	l.mu.Unlock()
	for c := range conns {
		if tcp, ok := c.Conn.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	return len(conns)
}

func (l *listener) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thawed != nil {
		close(l.thawed)
		l.thawed = nil
	}
}

// conn is an accepted connection, held up while its listener is frozen.
type conn struct {
	net.Conn
	listener *listener
	once     sync.Once
	closed   chan struct{}
}

// Read holds back what arrives while frozen: whoever reads belongs to the
// process that was stopped.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if closed := c.waitThawed(); closed != nil {
		return 0, closed
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.waitThawed(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) waitThawed() error {
	for {
		c.listener.mu.Lock()
		thawed := c.listener.thawed
		c.listener.mu.Unlock()
		if thawed == nil {
			return nil
		}
		select {
		case <-thawed:
		case <-c.closed:
			return net.ErrClosed
		}
	}
}

func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.listener.mu.Lock()
		delete(c.listener.conns, c)
		c.listener.mu.Unlock()
		close(c.closed)
		err = c.Conn.Close()
	})
	return err
}
