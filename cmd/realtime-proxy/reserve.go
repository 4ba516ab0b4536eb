package main

import "os"

// reserveBytes is how much the heap may grow at least before garbage is collected. With a thousand visitors some ten MiB are live: the
// collector, left to itself, would run every second or two under load, and each time keep messages waiting for some milliseconds.
const reserveBytes = 64 << 20

// newReserve returns memory that is to be kept and never touched. The collector counts it as live and lets the heap grow by as much again;
// as nobody touches it, it is address space only. It is nil where the operator has set how garbage is collected.
func newReserve() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, reserveBytes)
}
