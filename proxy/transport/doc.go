// Package transport speaks to visitors: event streams, WebSockets, polling, sending, tickets, the forwarded functions and the protocol
// of Supabase Realtime (front*.go). It knows HTTP and frames; who may see what is chat's, and whatever needs Supabase comes in through the small interfaces of this package.
//
// An idle stream owns one parked goroutine and no buffers: nobody has a writer goroutine. A push to a subscriber's empty queue
// starts a short-lived flusher, which writes all that waits in one write with a deadline and ends. A Realtime socket has one flusher for
// all its channels, each of which is a subscriber of its own.
package transport
