// Package standin is a Supabase-shaped server that lives in memory: Realtime (Phoenix channels, vsn 1.0.0 and 2.0.0), the
// part of PostgREST that the proxy uses, and the Edge Functions of temporary chat, behind one http.Handler.
//
// It exists for development without a Supabase stack and for tests. The same [Server] runs on a real socket and on an
// in-memory listener inside a testing/synctest bubble: it takes all waiting from package time. [New] starts nothing;
// goroutines and timers begin with requests and delayed changes, and [Server.Close] joins them all.
//
// # Database
//
// [DB] holds the tables of temporary chat with their defaults, CHECK constraints, foreign keys and triggers. A transaction
// commits atomically; the order of commits is the order of changes on Realtime. Values keep the look that PostgreSQL's own
// JSON output has: `"key": value` spacing and key order of jsonb, numeric scale, timestamps with the zeros cut. A row inserted
// without created_at carries the start time of its transaction, so commit order and created_at order can differ as they do in
// the field.
//
// # Realtime
//
// Frames, their order and their key order are those recorded from a real server (testdata/realtime); a test replays the
// recordings. Waiting times of the real server (2 s before a refused handshake, 5 s before a refused join, up to 500 ms
// between commit and change) are zero unless set in [Options].
//
// # Another database
//
// Realtime, REST and functions can stand on a real database in place of [DB]: Realtime sends the changes that a [ChangeSource]
// hands to [Server.Deliver], requests below /rest/v1 go to [Options.REST], and the Edge Functions keep their rows in a [Store].
// Package wal has a source and a store for PostgreSQL.
//
// # Faults
//
// [Faults] scripts misbehaviour while the server runs: refused dials and joins, deaf channels, stalled sockets, lost, late
// and doubled changes, a database restart, failing HTTP answers. Each fault counts how often it struck.
//
// # Concurrency
//
// All exported methods are safe for concurrent use, except those of [Tx], which belongs to one goroutine. A function passed to
// [DB.Tx] runs with the database locked and must not call methods of [DB] or wait for the server.
package standin
