package kafkatest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echo serves addr's connections by sending back what they send. The returned
// listener's goroutines have ended when the test ends.
func echo(t *testing.T, n *Network) net.Listener {
	t.Helper()
	l, err := n.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = n.Kill(l.Addr().String())
		_ = l.Close()
		serving.Wait()
	})
	return l
}

// talk dials addr and has one byte echoed, so that the connection is known to
// have been accepted.
func talk(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := ping(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	return c
}

func ping(c net.Conn, patience time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func TestNetworkDropsConnectionsAndAcceptsNewOnes(t *testing.T) {
	for name, how := range map[string]struct {
		drop func(*Network, string) (int, error)
		want error
	}{
		"drop":  {(*Network).Drop, io.EOF},
		"reset": {(*Network).Reset, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			var n Network
			addr := echo(t, &n).Addr().String()
			a, b := talk(t, addr), talk(t, addr)
			if got := n.Connections(addr); got != 2 {
				t.Errorf("Connections() = %d, want 2", got)
			}
			if got, err := how.drop(&n, addr); got != 2 || err != nil {
				t.Errorf("dropped %d, %v, want 2", got, err)
			}
			for _, c := range []net.Conn{a, b} {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, how.want) {
					t.Errorf("read from a dropped connection: %v, want %v", err, how.want)
				}
			}
			talk(t, addr)
		})
	}
}

func TestNetworkKillRefusesUntilRevive(t *testing.T) {
	var n Network
	addr := echo(t, &n).Addr().String()
	c := talk(t, addr)
	for range 2 { // the second is of no effect
		if err := n.Kill(addr); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read after the kill: %v, want EOF", err)
	}
	if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after the kill: %v, %v, want it refused", c, err)
	}
	for range 2 {
		if err := n.Revive(addr); err != nil {
			t.Fatal(err)
		}
	}
	talk(t, addr)
}

func TestNetworkFreezeHoldsEverythingBackUntilThaw(t *testing.T) {
	var n Network
	addr := echo(t, &n).Addr().String()
	before := talk(t, addr)
	for range 2 {
		if err := n.Freeze(addr); err != nil {
			t.Fatal(err)
		}
	}
	fresh, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("dial while frozen: %v, want it accepted", err)
	}
	t.Cleanup(func() { _ = fresh.Close() })
	for name, c := range map[string]net.Conn{"old": before, "new": fresh} {
		if err := ping(c, 20*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s connection while frozen: %v, want no answer", name, err)
		}
	}
	if err := n.Thaw(addr); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"old": before, "new": fresh} {
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("%s connection after the thaw: %v, want the answer owed", name, err)
		}
	}
}

func TestNetworkKillOfFrozenListenerThaws(t *testing.T) {
	var n Network
	addr := echo(t, &n).Addr().String()
	c := talk(t, addr)
	if err := n.Freeze(addr); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := n.Kill(addr); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a killed listener answered")
	}
	if err := n.Revive(addr); err != nil {
		t.Fatal(err)
	}
	talk(t, addr)
}

func TestNetworkForgetsClosedListener(t *testing.T) {
	var n Network
	l, err := n.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := n.Kill(addr); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept() // waits for a Revive that does not come
		accepted <- err
	}()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept on a closed listener: %v, want net.ErrClosed", err)
	}
	for name, err := range map[string]error{
		"Kill":   n.Kill(addr),
		"Revive": n.Revive(addr),
		"Freeze": n.Freeze(addr),
		"Thaw":   n.Thaw(addr),
	} {
		if err == nil {
			t.Errorf("%s of a closed listener: no error", name)
		}
	}
	if _, err := n.Drop(addr); err == nil {
		t.Error("Drop of a closed listener: no error")
	}
	if got := n.Connections(addr); got != 0 {
		t.Errorf("Connections() = %d, want 0", got)
	}
	again, err := n.Listen("tcp", addr) // as a node that comes back does
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := n.Listen("tcp", "nonsense"); err == nil {
		t.Error("Listen on nonsense: no error")
	}
}

func TestStablePortsAreNotEphemeral(t *testing.T) {
	from, to := stablePorts()
	if from < 1024 || to > 65536 || to-from < 1000 {
		t.Fatalf("stablePorts() = [%d, %d)", from, to)
	}
	for range 20 { // the ports that the kernel gives out itself
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if from <= port && port < to {
			t.Errorf("stablePorts() = [%d, %d) has %d, which the kernel gives out", from, to, port)
		}
	}
}
