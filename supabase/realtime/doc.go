// Package realtime is a client of Supabase Realtime: one supervised socket with a fixed list of channels, for changes of
// tables (postgres_changes) and broadcasts.
//
// New checks the options and allocates. Run dials, joins every channel, serves until the socket ends and begins again,
// until its context ends; it has then joined everything it started. Errors never end Run: they are reported as the Err of
// a Status, and retried with back-off, or slowly when the operator has to repair something first.
//
// A channel is live only after the server's system message says that its bindings are subscribed; the reply to a join does
// not say that. What was committed while a channel was not live is lost to the client, and so may be rows around the
// beginning of it: read the table back at every StateLive, also at repeated ones.
//
// All Handler calls of a client are made by the goroutine of its Run, one after the other, in the order of the wire.
// Reconnect and RTT are safe for concurrent use.
package realtime
