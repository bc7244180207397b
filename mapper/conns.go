package mapper

import (
	"unsafe"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/assign"
)

// recentConns is a cache before loop.connHandles: of connections with the same
// hash it has the one that was looked up last. A look-up in a Go map is an eighth
// of what it takes to deal with an answer.
type recentConns [1 << recentBits]recentConn

type recentConn struct {
	conn   *sarama.Broker
	handle assign.Conn
}

const recentBits = 6

// of returns the place of a connection. The hash is D. E. Knuth's, multiplicative
// (The Art of Computer Programming 3, 6.4); a connection's address does not change.
func (r *recentConns) of(b *sarama.Broker) *recentConn {
	const golden = 0x9E37_79B9_7F4A_7C15
	return &r[uint64(uintptr(unsafe.Pointer(b)))*golden>>(64-recentBits)]
}

// connHandle returns the handle of a connection.
func (l *loop) connHandle(b *sarama.Broker) assign.Conn {
	r := l.recent.of(b)
	if r.conn == b {
		return r.handle
	}
	c, ok := l.connHandles[b]
	if !ok {
		c = take(&l.freeConns, len(l.conns))
		if int(c) == len(l.conns) {
			l.conns = append(l.conns, nil)
		}
		l.conns[c] = b
		l.connHandles[b] = c
	}
	*r = recentConn{b, c}
	return c
}

// forgetConn frees a handle, for another connection to have.
func (l *loop) forgetConn(c assign.Conn) {
	b := l.conns[c]
	if r := l.recent.of(b); r.conn == b {
		*r = recentConn{}
	}
	delete(l.connHandles, b)
	l.conns[c] = nil
	l.freeConns = append(l.freeConns, c)
}
