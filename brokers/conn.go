package brokers

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/IBM/sarama"
)

// Conn is a connection to one broker that serves one role and nobody else's
// requests. It belongs to one goroutine, but for Interrupt. What the client's
// configuration says of dialing, TLS, SASL and timeouts goes for it too.
type Conn struct {
	broker *sarama.Broker
	conf   *sarama.Config
	dialer *dialer
}

// ConnConfig configures a [Conn].
type ConnConfig struct {
	// Client is the configuration of the client that the connection is made for.
	// It is not changed.
	Client *sarama.Config
	// Wrap, where it is not nil, is called with every new connection, past TLS,
	// and returns the one to use in its place. It is called before the first byte
	// is sent.
	Wrap func(net.Conn) net.Conn
}

// NewConn makes a connection over broker, which nobody else uses until Close. It
// is not opened yet.
func NewConn(cfg ConnConfig, broker *sarama.Broker) *Conn {
	conf := *cfg.Client
	d := newDialer(cfg.Client, cfg.Wrap)
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = d
	conf.Net.TLS.Enable = false // the dialer does that
	return &Conn{broker: broker, conf: &conf, dialer: d}
}

// Broker returns the broker, for requests.
func (c *Conn) Broker() *sarama.Broker { return c.broker }

// Version returns the version of Kafka that requests are to be made for.
func (c *Conn) Version() sarama.KafkaVersion { return c.conf.Version }

// Connect returns when the connection is open and authenticated; at once where
// it is.
func (c *Conn) Connect() error {
	if err := c.broker.Open(c.conf); err != nil && !errors.Is(err, sarama.ErrAlreadyConnected) {
		return err
	}
	connected, err := c.broker.Connected() // waits for the dial
	if err == nil && !connected {
		err = sarama.ErrNotConnected
	}
	if err != nil {
		return fmt.Errorf("broker %s: %w", c.broker.Addr(), err)
	}
	return nil
}

// Disconnect closes the connection; Connect makes a new one. It must follow
// every failed request: after a timeout a *sarama.Broker returns that timeout
// for ever.
func (c *Conn) Disconnect() { _ = c.broker.Close() }

// Interrupt makes the request or dial in progress fail, now, and every later
// one. Any goroutine may call it: Close of a *sarama.Broker waits for the
// request instead.
func (c *Conn) Interrupt() { c.dialer.interrupt() }

// Close ends the connection; the *sarama.Broker can go into another one.
func (c *Conn) Close() {
	c.Interrupt()
	c.Disconnect()
}

// Do connects, runs request, and interrupts it when ctx ends. The connection is
// of no more use when Do returns an error: it is to be closed.
func (c *Conn) Do(ctx context.Context, request func(*sarama.Broker) error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.Interrupt()
		close(interrupted)
	})
	err := c.Connect()
	if err == nil {
		err = request(c.broker)
	}
	if !stop() {
		<-interrupted
		if err == nil { // answered in the last moment, on a connection that is broken now
			err = ctx.Err()
		}
	}
	return err
}
