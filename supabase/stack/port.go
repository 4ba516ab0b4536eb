package stack

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports below the range from which systems take the local ports of outgoing connections, so that nothing takes the port of
// a server while it is down for a moment.
const (
	lowestPort  = 15000
	highestPort = 31999
	portTries   = 200
)

// freePort returns a port of 127.0.0.1 that nothing listens on now.
func freePort() (int, error) {
	for range portTries {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		listener, err := net.Listen("tcp4", address(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err == nil {
			return port, nil
		}
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
