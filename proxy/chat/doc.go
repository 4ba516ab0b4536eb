// Package chat is the heart of the proxy: who may see which row, what of a row leaves, in what order, and from where a
// visitor who comes back goes on. It is pure: no network, no goroutine, no timer; time and randomness come in through
// Options, so that the whole of it runs in a simulation.
//
// A Hub holds one conversation per chat thread that somebody watches. A conversation holds classes: a class is the set of
// visitors that the visibility Rule treats alike (one session in ModeSession, everybody in ModeConversation). A class has one
// published sequence of Events, so one event, one cursor and one encoding serve all its Subscribers.
//
// The way of a row: Hub.Publish (or Hub.Recover for rows read back) -> Rule -> class -> Event -> Subscriber queue ->
// Subscriber.Guard at the write. The way of a visitor: Hub.Attach -> baseline or backlog reads by the caller, handed in through
// the Attachment -> Attachment.Next until it is live -> Subscriber.Take whenever the wake function is called -> Attachment.Close.
//
// Hub, Attachment and Subscriber are safe for concurrent use. Lock order: Hub.mu, conversation.mu, Subscriber.mu.
package chat
