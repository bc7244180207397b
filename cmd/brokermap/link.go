package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// How long a broker may take. A demo that is stuck shows nothing, and a fetch
// that waits out sarama's 30 s is one.
const (
	dialTimeout  = time.Second
	writeTimeout = time.Second
)

// link is a connection to one broker that serves one role and nobody else's
// requests: a parked Fetch holds the lock of its *sarama.Broker for as long as
// it is parked. It belongs to one goroutine, except for interrupt.
type link struct {
	broker *sarama.Broker
	conf   *sarama.Config
	dialer *dialer
}

// newLink makes a link over broker, which nobody else uses meanwhile. An answer
// that takes longer than patience is an error.
func newLink(broker *sarama.Broker, patience time.Duration) *link {
	d := &dialer{}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.ClientID = "brokermap-demo"
	conf.Net.DialTimeout = dialTimeout
	conf.Net.WriteTimeout = writeTimeout
	conf.Net.ReadTimeout = patience
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = d
	return &link{broker: broker, conf: conf, dialer: d}
}

// connect returns when the link is connected; at once where it is.
func (l *link) connect() error {
	if err := l.broker.Open(l.conf); err != nil && !errors.Is(err, sarama.ErrAlreadyConnected) {
		return err
	}
	connected, err := l.broker.Connected() // waits for the dial
	if err == nil && !connected {
		err = sarama.ErrNotConnected
	}
	if err != nil {
		return fmt.Errorf("broker %s: %w", l.broker.Addr(), err)
	}
	return nil
}

// disconnect closes the connection; connect makes a new one. It must follow
// every failed request: after a timeout a *sarama.Broker returns that timeout
// for ever.
func (l *link) disconnect() { _ = l.broker.Close() }

// interrupt makes the request or dial in progress fail, now, and every later
// one. Any goroutine may call it: Close of a *sarama.Broker waits for the
// request instead.
func (l *link) interrupt() { l.dialer.interrupt() }

// close ends the link; the *sarama.Broker can go into another one.
func (l *link) close() {
	l.interrupt()
	l.disconnect()
}

// dialer is a sarama dialer that keeps hold of its connection.
type dialer struct {
	ctx    context.Context // ends with interrupt
	cancel context.CancelFunc

	mu   sync.Mutex
	conn net.Conn // the last one
}

// Dial has the signature that sarama.Config.Net.Proxy.Dialer wants.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	plain := net.Dialer{Timeout: dialTimeout}
	conn, err := plain.DialContext(d.ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	d.conn = conn
	return conn, nil
}

func (d *dialer) interrupt() {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// request runs do, which uses l's broker, and interrupts it when ctx ends. The
// link is of no more use when request returns an error.
func (l *link) request(ctx context.Context, do func(*sarama.Broker) error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		l.interrupt()
		close(interrupted)
	})
	err := l.connect()
	if err == nil {
		err = do(l.broker)
	}
	if !stop() {
		<-interrupted
		if err == nil { // answered in the last moment, on a link that is broken now
			err = ctx.Err()
		}
	}
	return err
}

// withBroker runs do on a connection to addr that is made for it.
func withBroker(ctx context.Context, addr string, do func(*sarama.Broker) error) error {
	l := newLink(sarama.NewBroker(addr), adminTimeout)
	defer l.close()
	return l.request(ctx, do)
}
