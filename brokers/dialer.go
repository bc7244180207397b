package brokers

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/IBM/sarama"
)

// dialer is a sarama dialer that keeps hold of its connection. It does what
// sarama would do with the client's configuration: dial directly or through the
// user's proxy, then TLS.
type dialer struct {
	conf   *sarama.Config
	wrap   func(net.Conn) net.Conn
	ctx    context.Context // ends with interrupt
	cancel context.CancelFunc

	mu   sync.Mutex
	conn net.Conn // the last one, without TLS
}

func newDialer(conf *sarama.Config, wrap func(net.Conn) net.Conn) *dialer {
	d := &dialer{conf: conf, wrap: wrap}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Dial has the signature that sarama.Config.Net.Proxy.Dialer wants.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, d.conf.Net.DialTimeout)
	defer cancel()
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if err := d.hold(conn); err != nil {
		return nil, err
	}
	if d.conf.Net.TLS.Enable {
		secure := tls.Client(conn, withServerName(d.conf.Net.TLS.Config, addr))
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secure
	}
	if d.wrap != nil {
		conn = d.wrap(conn)
	}
	return conn, nil
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if !d.conf.Net.Proxy.Enable {
		plain := net.Dialer{KeepAlive: d.conf.Net.KeepAlive, LocalAddr: d.conf.Net.LocalAddr}
		return plain.DialContext(ctx, network, addr)
	}
	proxy := d.conf.Net.Proxy.Dialer
	if p, ok := proxy.(interface {
		DialContext(context.Context, string, string) (net.Conn, error)
	}); ok {
		return p.DialContext(ctx, network, addr)
	}
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		conn, err := proxy.Dial(network, addr)
		done <- dialed{conn, err}
	}()
	select {
	case got := <-done:
		return got.conn, got.err
	case <-ctx.Done():
		// Nothing ends that dial; what it brings is closed.
		go func() {
			if got := <-done; got.err == nil {
				_ = got.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// hold makes conn the one that interrupt closes.
func (d *dialer) hold(conn net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		_ = conn.Close()
		return net.ErrClosed
	}
	d.conn = conn
	return nil
}

func (d *dialer) interrupt() {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// withServerName returns conf with the name that the broker's certificate must
// have, where it has none.
func withServerName(conf *tls.Config, addr string) *tls.Config {
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if conf.ServerName != "" {
		return conf
	}
	conf = conf.Clone()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		conf.ServerName = host
	}
	return conf
}
