// Package session decides who a visitor is: it turns a session token or a ticket into a chat.Visitor, and says when a session
// is over.
//
// A token is proved by the database's validation function, seldom and never twice at a time; whether the session still holds is
// told by its row and its link's row, read in batches. A ticket is a token sealed by the proxy: it takes the row reads only.
// What could not be asked is never an answer about the session: failures are chat.RefuseUnavailable, and nothing is cached.
//
// Sessions with an open stream are tracked. They end by control changes (SessionChanged and its like), by their own timers
// (link expiry, idleness) and by what the rechecks find; a session that no read confirmed for Options.ConfirmWithin loses its
// streams until it can be read again. Only a read counts as a confirmation, and only one that would have shown the end of the session and
// that of its link; where one of the tables cannot be read, the validation function is asked when half the time is over. Streams of a session
// that moved to another conversation or agent end too, to be opened anew; of other changes Options.OnChange is told.
//
// Link tokens are judged by an Edge Function, which this package does not call: LinkTurn says when.
//
// Life cycle: New checks and allocates. Run drives rechecks, timers and Options.OnEnd until its context ends, then joins every
// read that Authorize started; from then on Authorize refuses what it would have to read.
//
// Concurrency: all methods of Authorizer are safe for concurrent use. One mutex guards all state and is never held during a
// call of the Store, of Options.VerifyCursor or of Options.OnEnd, the Store's Now excepted.
//
// Secrets: tokens and tickets are in no log, error or metric. The token cache holds SHA-256 sums; the newest token of a known
// session stays in memory, to prove it again where the tables cannot be read.
package session
