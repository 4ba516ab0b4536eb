// Package feed brings rows from Supabase into the hub and makes up for what Realtime does not promise.
//
// Two sockets: one with a table-wide binding of the messages table, one with a channel each for endings of sessions and of links. The
// messages channel is dialing, joined, live or errored (realtime.State); the feed derives from it what visitors are told:
//
//	channel            reads                           state
//	live               catch-up owed or running        catching_up
//	live               caught up                       live       (reconciling reads go on)
//	not live < 2 s     -                               catching_up
//	not live >= 2 s    every poll interval             polling
//
// Every confirmation of the subscription owes a catch-up, because changes before it may be lost: hold the live rows of a conversation,
// read back from what is proved, merge by id, release. The same function polls while there is no channel, and reconciles while there
// is: a row that a reconciling read finds and the channel did not bring is delivered at once, and if the channel does not bring it
// soon after, the socket is replaced.
//
// "Proved" is the database's time at the start of the last read that showed every row of a conversation, never the time of live
// traffic. Reads go back behind it by the overlap, because a row may be committed later than its created_at.
//
// Run owns every goroutine of the package. Join, Deliver, History and CatchUp may be called from any goroutine while Run runs.
package feed
