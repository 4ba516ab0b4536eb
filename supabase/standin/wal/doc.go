// Package wal takes the changes of a real PostgreSQL for the stand-in: its Realtime then sends what was committed to that
// database, with the values that PostgreSQL itself gives. It serves tests and is no part of a deployment.
//
// A [Source] reads a temporary logical replication slot (plug-in pgoutput, protocol version 1: whole transactions in commit
// order) and hands each transaction to a [Sink], as a rule standin.Server.Deliver. Types, keys, replica identity, row level
// security and grants come from the catalog; values are turned into JSON by to_jsonb on the server. A [Store] keeps the rows
// of the stand-in's Edge Functions in the same database.
//
// # Life cycle
//
// [New] checks the options. [Source.Run] connects, streams until ctx ends and joins all it started. When the connection is
// lost it comes back with back-off and a new slot: what was committed in between is lost and nobody is told, as with the real
// server.
//
// # Concurrency
//
// Run runs once, in one goroutine; the sink is called from it, one transaction at a time. All other methods are safe for
// concurrent use and answer [ErrNotStreaming] while no slot is open.
package wal
