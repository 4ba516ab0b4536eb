// Package feed brings rows from Supabase into the hub and makes up for what Realtime does not promise.
//
// Rows come over one way, the messages channel: a socket with a table-wide binding of the messages table, for a moment two while one
// replaces the other (only the current one counts, or the order of commits would be lost). Endings of sessions and links come over a
// control socket with a channel each; when it is old, a fresh one is live before it goes. What the feed takes the messages channel for, and what it does about it, follows one table. An
// event that is not in the table for a state, or whose condition does not hold, changes nothing.
//
//	state    event        if          next     actions
//	dialing  accepted     -           joined   -
//	dialing  confirmed    -           live     drop fresh, catch up
//	dialing  fresh live   -           live     swap, catch up
//	joined   confirmed    -           live     drop fresh, catch up
//	joined   lost         -           dialing  -
//	joined   fresh live   -           live     swap, catch up
//	live     confirmed    -           live     catch up
//	live     lost         -           dialing  -
//	live     late         -           suspect  read, replace
//	live     missing      -           suspect  read, replace
//	live     skipped      backed off  suspect  distrust, read, replace
//	live     returned     -           suspect  read, replace
//	live     canary late  -           suspect  read, replace
//	live     aged         -           live     replace
//	live     brought      -           live     trust
//	live     fresh live   -           live     swap, catch up
//	suspect  confirmed    -           suspect  read
//	suspect  lost         -           dialing  -
//	suspect  returned     -           suspect  read, replace
//	suspect  brought      no fresh    live     catch up, trust
//	suspect  due          no fresh    suspect  replace
//	suspect  fresh live   -           live     swap, catch up
//
// The states: in dialing there is no channel, because the socket is being opened or the join was refused; in joined the server has
// accepted the join, which says nothing about changes; in live it has said that the subscription stands; in suspect it has, and is not
// believed.
//
// The events:
//
//	accepted    the join was answered
//	confirmed   the server says that the subscription stands; also when it says so again: changes before it may be lost
//	lost        the channel or its socket ended; the client dials and joins again by itself
//	late        a heartbeat has waited 5 s for its answer
//	missing     a read found rows, and the channel, up to now silent about anything later, has brought neither two of them for 1 s nor one
//	            for as long as the next read took to come
//	skipped     the same, but the channel brings later rows: it is alive and has lost some; a fresh one is worth a try ("backed off"), but
//	            that it brings rows does not count as help
//	returned    the database or PostgREST reads again after 10 s or more without
//	canary late a beat of the canary, written 4 s ago, has not come, nor has anything later; if something later has, the event is skipped
//	aged        the socket is older than Options.Realtime.MaxAge
//	brought     the socket brought a row within 3 s of its commit
//	due         the back-off between replacements is over
//	fresh live  the subscription of the fresh socket stands
//
// The actions:
//
//	catch up    owe a read of all conversations, with a comparison of the rows that visitors see
//	read        read all conversations now, and every poll interval from then on
//	replace     open a fresh socket, unless one is under way or the back-off runs: the old one is kept until the fresh one is live
//	swap        the fresh socket takes over, the old one is closed
//	drop fresh  give up the fresh socket, if there is one
//	trust       the socket has proved itself: the next replacement may come 10 s after the last
//	distrust    replacing did not help: the wait goes on doubling
//
// Between replacements lie at least 10 s, which double up to 2 min while the fresh sockets bring nothing either, as under a tripped event
// limit. Meanwhile rows are read. A row that a slow transaction makes is old when it is committed: it is judged by the time since it
// was found, and not while the channel is behind, that is, brings rows committed before that.
//
// What visitors are told, and what is read:
//
//	way                       told         reads
//	live, catch-up owed       catching_up  the catch-up
//	live, caught up           live         reconciling reads every ReconcileInterval
//	not live for < PollAfter  catching_up  none; in suspect at once
//	not live for longer       polling      polls every PollInterval
//
// One read runs at a time; a catch-up that is owed makes the others give way, so that rows which come live wait behind it from the start.
// All three reads are one function: hold the live rows of a conversation (not for reconciling), read back from what is proved, merge by row
// id, release. "Proved" is the database's time at the start of the last read that showed every row of a conversation, never the time of
// live traffic. Reads go back behind it by CatchUpOverlap, because a row may be committed later than its created_at. Most reconciling
// reads ask, of these rows, only for those created or updated since the last read or up to 10 s before it, and prove nothing; one in
// every 30 s asks for all. A catch-up also reads by id the newest 500 rows that the visitors of a conversation have been shown and that it
// did not read anyway: what changed in the gap is updated, what is gone is taken back.
//
// # The canary
//
// With Options.Tables.Canary each node writes a row of its own (id uuid, beat timestamptz) every 1.8 to 2 s and listens for it, filtered by
// its id, over a channel of its own behind the messages channel of the same socket: so it shares what goes wrong on the server's side, the
// event limit included, though not the deafness of the messages channel alone. A beat is a sign if it was written without an error while the
// canary's channel stood, and has not come by 4 s later over the same socket under the same confirmation; not while the messages channel
// is behind, and not before a first beat has ever come. That beats come proves nothing of the messages channel. If the channel is refused or
// the table not published, there is no canary, and nothing is written, until the next socket.
//
// # How soon a lost row is found
//
// A poll reads every watched conversation. A reconciling round reads at most 5 batches of 100: the active ones (a row within the
// last minute) first, one batch at least being kept for the others if there are so many, each kind in turn. With A active and Q quiet
// conversations, and reads that take r, a row that a silent channel does not bring is delivered at the latest
//
//	active:  1 s + ReconcileInterval * ceil(A / (500 - min(Q, max(100, 500-A)))) + r
//	quiet:   1 s + ReconcileInterval * ceil(Q / min(Q, max(100, 500-A))) + r
//
// after its creation: 3.5 s + r by default with up to 400 active and 100 quiet ones, and never later for an active one while there are
// at most 400 of those. A row whose transaction took longer than 10 s may take 30 s more. A canary notices within 7 s that the server
// brings nothing, and all conversations are then read: with it, a row is delivered at the latest 7 s + r' after the server went deaf, or
// after its creation if that is later, where r' is what it takes to read all of them, and a write. What the server loses in a moment
// between two beats only reads find.
//
// # Life cycle
//
// New checks and allocates. Run owns every goroutine of the package and returns when all have ended. Join, Deliver, History, CatchUp, State,
// RTT and Ready may be called from any goroutine while Run runs.
package feed
