package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// waitersPerSlot bounds the tokens that wait for one that is validated.
const waitersPerSlot = 16

// maxTokenText bounds what is looked at as a token: a token and room for stray blanks.
const maxTokenText = 1024

var (
	errTokenForm    = errors.New("the token has an unknown form")
	errTokenUnknown = errors.New("the token proves no session")
)

// tokenEntry is what a token proved.
type tokenEntry struct {
	session string
	until   time.Time
}

// flight is one validation that any number of callers wait for. The results are set before done is closed.
type flight struct {
	done    chan struct{}
	visitor *chat.Visitor
	err     error
}

// normalize strips white space, which pages and mail programs add to tokens, and checks the form.
func normalize(t chat.Token) (chat.Token, bool) {
	if len(t) > maxTokenText {
		return "", false
	}
	bare := chat.Token(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, t.Reveal()))
	return bare, bare.WellFormed()
}

func (a *Authorizer) byToken(ctx context.Context, token chat.Token, brought chat.Credential) (*chat.Visitor, error) {
	now, sum := time.Now(), tokenSum(sha256.Sum256([]byte(token)))
	a.mu.Lock()
	entry, known := a.proved.get(sum)
	// What a token proved stands as long as a stream is open: the session is read again and again.
	stands := known && (now.Before(entry.until) || a.tracked[entry.session] != nil)
	refused, _ := a.unproved.get(sum)
	a.mu.Unlock()
	switch {
	case stands:
		return a.current(ctx, entry.session, token, brought)
	case now.Before(refused):
		return nil, chat.RefuseInvalid(errTokenUnknown)
	}
	return a.validate(ctx, sum, token, brought, known)
}

// validate has the token proved by the database, together with whoever asks for the same. The end of ctx ends the wait only. A token
// that is known has proved a session before, and is no try.
func (a *Authorizer) validate(ctx context.Context, sum tokenSum, token chat.Token, brought chat.Credential, known bool) (*chat.Visitor, error) {
	f := a.flying(sum)
	if f == nil {
		settle := func(bool) {}
		if brought.Try != nil && !known {
			if err := brought.Try.Begin(ctx); err != nil {
				return nil, err
			}
			settle = brought.Try.Settle
		}
		var err error
		if f, err = a.board(sum, token, brought.Neighbourhood(), known, settle); err != nil {
			return nil, a.unavailable(err)
		}
	}
	select {
	case <-f.done:
		return f.visitor, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// flying returns the flight of a token that is being validated, or nil.
func (a *Authorizer) flying(sum tokenSum) *flight {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.flights[sum]
}

// board returns the flight of a token, a new one if the limits allow it. settle is called once, with whether the token proved nothing: a
// new flight does so at its end, whoever still waits for it, as the database was asked all the same.
func (a *Authorizer) board(sum tokenSum, token chat.Token, from netip.Prefix, known bool, settle func(failed bool)) (*flight, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f, ok := a.flights[sum]; ok {
		settle(false)
		return f, nil
	}
	one, err := a.turns.join(from, known)
	if err != nil {
		settle(false)
		return nil, err
	}
	f := &flight{done: make(chan struct{})}
	started := a.tasks.start(func(ctx context.Context) {
		f.visitor, f.err = a.prove(ctx, sum, token, one)
		a.mu.Lock()
		delete(a.flights, sum)
		a.mu.Unlock()
		settle(errors.Is(f.err, errTokenUnknown))
		close(f.done)
	})
	if !started {
		settle(false)
		return nil, errStopped
	}
	a.flights[sum] = f
	return f, nil
}

// prove asks the validation function when its turn has come, then reads the rows of the session that the token belongs to.
func (a *Authorizer) prove(ctx context.Context, sum tokenSum, token chat.Token, one *turn) (*chat.Visitor, error) {
	answer, at, err := a.ask(ctx, token, one)
	if err != nil {
		return nil, a.unavailable(err)
	}
	if !answer.Valid {
		a.forget(sum)
		return nil, chat.RefuseInvalid(errTokenUnknown)
	}
	if _, _, ending := a.recall(answer.SessionID); ending != nil {
		a.remember(sum, answer.SessionID)
		return nil, chat.RefuseEnded(ending)
	}
	r, err := a.load(ctx, answer.SessionID)
	if err != nil {
		return nil, a.unavailable(err)
	}
	if r.rpc = &answer; !r.sessionRead || !r.linkRead {
		r.at = at
	}
	a.nameAgent(ctx, &r)
	v, ending := a.apply(answer.SessionID, r, token)
	if r.sessionRead && r.session == nil {
		a.forget(sum)
		return nil, chat.RefuseInvalid(fmt.Errorf("%w: its session has no row", errTokenUnknown))
	}
	a.remember(sum, answer.SessionID)
	if ending != nil {
		return nil, chat.RefuseEnded(ending)
	}
	return v, nil
}

// ask calls the validation function in its turn, which it returns, and tells when it began. It tells nothing of the token when it fails.
func (a *Authorizer) ask(ctx context.Context, token chat.Token, one *turn) (answer rest.Validation, at time.Time, err error) {
	if err := a.turns.await(ctx, one); err != nil {
		return answer, at, err
	}
	defer func() { a.turns.release(one, err == nil, err == nil && answer.Valid) }()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	at = time.Now()
	answer, err = a.store.ValidateSession(ctx, token.Reveal())
	if err == nil && answer.Valid && !idForm.MatchString(answer.SessionID) {
		err = errBadID
	}
	a.metrics.validated(answer.Valid, err)
	return answer, at, err
}

// remember notes what a token proved.
func (a *Authorizer) remember(sum tokenSum, session string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unproved.remove(sum)
	a.proved.put(sum, tokenEntry{session: session, until: time.Now().Add(a.opts.CachePositive)})
}

// forget notes that a token proves nothing.
func (a *Authorizer) forget(sum tokenSum) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.proved.remove(sum)
	a.unproved.put(sum, time.Now().Add(a.opts.CacheNegative))
}
