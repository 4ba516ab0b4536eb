// Package proxytest is a visitor for tests: it speaks to a proxy's visitor port over real sockets, as pages and scripts do, and knows
// nothing of the proxy's insides. Every wait is bounded by the context it is given.
package proxytest
