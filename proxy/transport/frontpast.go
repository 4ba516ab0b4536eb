package transport

import (
	"container/list"
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// maxPast bounds the lost channels that are remembered, maxPastOfSession those of one session. The oldest go first.
	maxPast          = 4096
	maxPastOfSession = maxFrontChannels
)

// frontPast remembers for a while where channels were that went without a leave: a client of the protocol brings no cursor when it
// comes back. Beside that it keeps the cursors that vouch for tickets.
type frontPast struct {
	window time.Duration

	mu      sync.Mutex
	entries list.List // of *pastEntry, oldest first
	keys    map[pastKey][]*list.Element
	counts  map[string]int // by session
}

// pastKey names a channel of a session, or the hash of a ticket, which has no topic.
type pastKey struct{ session, topic string }

type pastEntry struct {
	key    pastKey
	cursor string
	until  time.Time
}

func newFrontPast(window time.Duration) *frontPast {
	return &frontPast{window: window, keys: make(map[pastKey][]*list.Element), counts: make(map[string]int)}
}

// keep remembers a lost channel.
func (p *frontPast) keep(session, topic, cursor string) {
	if cursor == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expireLocked(time.Now())
	switch {
	case p.counts[session] >= maxPastOfSession:
		p.removeLocked(p.oldestOfLocked(session))
	case p.entries.Len() >= maxPast:
		p.removeLocked(p.entries.Front())
	}
	key := pastKey{session, topic}
	e := p.entries.PushBack(&pastEntry{key, cursor, time.Now().Add(p.window)})
	p.keys[key] = append(p.keys[key], e)
	p.counts[session]++
}

// take returns the oldest cursor of a channel and forgets it; "" when none is kept.
func (p *frontPast) take(session, topic string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expireLocked(time.Now())
	kept := p.keys[pastKey{session, topic}]
	if len(kept) == 0 {
		return ""
	}
	cursor := kept[0].Value.(*pastEntry).cursor
	p.removeLocked(kept[0])
	return cursor
}

func (p *frontPast) expireLocked(now time.Time) {
	for e := p.entries.Front(); e != nil && now.After(e.Value.(*pastEntry).until); e = p.entries.Front() {
		p.removeLocked(e)
	}
}

func (p *frontPast) oldestOfLocked(session string) *list.Element {
	for e := p.entries.Front(); e != nil; e = e.Next() {
		if e.Value.(*pastEntry).key.session == session {
			return e
		}
	}
	return nil // not while the session has a count
}

func (p *frontPast) removeLocked(e *list.Element) {
	entry := p.entries.Remove(e).(*pastEntry)
	kept := p.keys[entry.key]
	for i := range kept {
		if kept[i] == e {
			kept = append(kept[:i:i], kept[i+1:]...)
			break
		}
	}
	if p.keys[entry.key] = kept; len(kept) == 0 {
		delete(p.keys, entry.key)
	}
	decrement(p.counts, entry.key.session)
}

// keepVouch remembers a cursor of the session that a ticket proved: with it the client, which repeats its URL, is let in again.
func (p *frontPast) keepVouch(ticket chat.Token, cursor string) {
	if isTicket(ticket) {
		p.keep(ticketKey(ticket), "", cursor)
	}
}

// vouch returns what keepVouch remembered.
func (p *frontPast) vouch(ticket chat.Token) string {
	if !isTicket(ticket) {
		return ""
	}
	cursor := p.take(ticketKey(ticket), "")
	p.keep(ticketKey(ticket), "", cursor)
	return cursor
}

func isTicket(t chat.Token) bool { return strings.HasPrefix(t.Reveal(), ticketPrefix) }

// ticketKey is no session's id: it holds bytes that none has.
func ticketKey(t chat.Token) string {
	sum := sha256.Sum256([]byte(t.Reveal()))
	return "ticket\x00" + string(sum[:])
}
