package kafkatest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// listenStable listens on a loopback port outside the ephemeral range.
//
// A broker that is killed gives its port up and must get it back. An ephemeral
// port may meanwhile go to somebody's outgoing connection; and a client that
// dials a dead ephemeral port of its own host again and again ends up connected
// to itself sooner or later, by TCP's simultaneous open.
func listenStable() (net.Listener, error) {
	from, to := stablePorts()
	var err error
	for range 1000 {
		port := from + rand.IntN(to-from)
		var l net.Listener
		l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("kafkatest: no free port in [%d, %d): %w", from, to, err)
}

// stablePorts returns a range of ports [from, to) that the kernel does not give
// to outgoing connections, as far as it says so.
func stablePorts() (from, to int) {
	low, high := 32768, 60999
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low, &high)
	}
	const enough = 1000
	for _, from := range []int{20000, 10000} {
		if low-from >= enough {
			return from, low
		}
	}
	if 65536-(high+1) >= enough {
		return high + 1, 65536
	}
	return 10000, 65536
}
