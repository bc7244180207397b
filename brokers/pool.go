package brokers

import (
	"sync"

	"github.com/IBM/sarama"
)

// node identifies a broker; one that comes back elsewhere is another one.
type node struct {
	id   int32
	addr string
}

// pool gives out one *sarama.Broker for one broker at one address, which is what
// a mapper knows a connection by. Nobody but the executor that is spawned for it
// opens it.
type pool struct {
	mu    sync.Mutex
	conns map[node]*sarama.Broker
	nodes map[*sarama.Broker]node
}

func (p *pool) get(id int32, addr string) *sarama.Broker {
	n := node{id, addr}
	p.mu.Lock()
	defer p.mu.Unlock()
	conn := p.conns[n]
	if conn == nil {
		if p.conns == nil {
			p.conns, p.nodes = make(map[node]*sarama.Broker), make(map[*sarama.Broker]node)
		}
		conn = sarama.NewBroker(addr)
		p.conns[n] = conn
		p.nodes[conn] = n
	}
	return conn
}

// id returns the id of the broker behind conn, -1 for one that is not its connection any more.
func (p *pool) id(conn *sarama.Broker) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := p.nodes[conn]; ok {
		return n.id
	}
	return -1
}

// retain drops what is not among a cluster's brokers.
func (p *pool) retain(addrs map[int32]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, conn := range p.conns {
		if addrs[n.id] != n.addr {
			delete(p.conns, n)
			delete(p.nodes, conn)
		}
	}
}
