// Package transport speaks to visitors: event streams, WebSockets, polling, sending, tickets and the forwarded functions. It knows
// HTTP and frames; who may see what is chat's, and whatever needs Supabase comes in through the small interfaces of this package.
//
// An idle stream owns one parked goroutine and no buffers: nobody has a writer goroutine. A push to a subscriber's empty queue
// starts a short-lived flusher, which writes all that waits in one write with a deadline and ends.
package transport
