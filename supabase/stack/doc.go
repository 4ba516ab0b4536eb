// Package stack runs a real PostgreSQL and a real PostgREST for tests, with the chat schema of testdata/sql. It is imported
// by tests only and imports nothing of this module.
//
// The programs come from the npm packages of testdata/e2e (PostgreSQL 18, PostgREST 12) or, for PostgreSQL, from Debian's
// packages. Both listen on 127.0.0.1 on ports below the ephemeral range, demand passwords and keep everything in one
// throw-away directory. Since PostgreSQL refuses to run as root, root runs both as the user nobody, from copies.
//
// # Life cycle
//
// Start brings up one stack and registers its end with the test: when the test is over, no child, file or goroutine of it
// is left. Should the test binary die first, the kernel ends the children, and a later Start removes the directory.
// Initialising a cluster takes seconds, so it is done once and copied; what is shared lasts as long as a stack does, or
// until what Hold returned is called:
//
//	func TestMain(m *testing.M) {
//		release := stack.Hold()
//		goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { release(); os.Exit(code) }))
//	}
//
// # Concurrency
//
// All functions and methods may be called concurrently; methods that start or stop a server wait for one another.
package stack
