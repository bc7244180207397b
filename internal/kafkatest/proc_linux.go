package kafkatest

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
)

// childAttributes makes a process one that a Ctrl-C in the terminal does not
// reach, and that is killed when the thread that started it ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// dropConnections shuts down the sockets of this process that are connected to an
// address: whoever reads from one reads its end, on both sides.
func dropConnections(addr string) (int, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return 0, err
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		peer, err := syscall.Getpeername(fd)
		if err != nil {
			continue // no socket, or none that is connected
		}
		var at net.TCPAddr
		switch peer := peer.(type) {
		case *syscall.SockaddrInet4:
			at = net.TCPAddr{IP: peer.Addr[:], Port: peer.Port}
		case *syscall.SockaddrInet6:
			at = net.TCPAddr{IP: peer.Addr[:], Port: peer.Port}
		}
		if at.Port != to.Port || !at.IP.Equal(to.IP) {
			continue
		}
		if err := syscall.Shutdown(fd, syscall.SHUT_RDWR); err == nil {
			n++
		} else if !errors.Is(err, syscall.ENOTCONN) {
			return n, err
		}
	}
	return n, nil
}
