package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// Authorizer turns credentials into visitors and ends their sessions. Its methods are safe for concurrent use.
type Authorizer struct {
	// Fixed after New.
	opts     Options
	store    Store
	log      *slog.Logger
	metrics  *Metrics
	sealer   *sealer
	tasks    *tasks
	turns    *turns // of session tokens
	linkTurn *turns // of link tokens
	sessions *batcher[rest.Session]
	links    *batcher[rest.Link]
	agents   *batcher[string]
	started  atomic.Bool
	warned   warnings

	// wake has room for one: the watch looks again. suspects likewise: sessions want to be read now.
	wake     chan struct{}
	suspects chan struct{}
	missed   chan struct{} // likewise: all sessions want to be read now
	doubted  chan struct{} // likewise: sessions want to be confirmed by their tokens

	mu        sync.Mutex
	proved    *lru[tokenSum, tokenEntry] // tokens that proved a session
	unproved  *lru[tokenSum, time.Time]  // tokens that did not, and until when nobody asks: apart, as anybody can bring any number
	flights   map[tokenSum]*flight
	tracked   map[string]*record       // with open streams, by session id
	known     *lru[string, *record]    // without
	ended     *lru[string, endedEntry] // by session id
	deadLinks *lru[string, deadLink]
	names     *lru[string, nameEntry] // by agent id
	announced []*record               // whose ending OnEnd is to be told
	replaced  []announcement          // whose streams are another conversation's or agent's now
	changed   []*record               // of whom OnChange is to be told
	next      time.Time               // before which the watch has nothing to do; zero when nothing is tracked
	rechecked time.Time               // when the last recheck of all tracked sessions began
}

type tokenSum [sha256.Size]byte

// New checks the options and allocates. It starts nothing.
func New(opts Options) (*Authorizer, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("new authoriser: %w", err)
	}
	s, err := newSealer(opts.Keys)
	if err != nil {
		return nil, fmt.Errorf("new authoriser: %w", err)
	}
	a := &Authorizer{
		opts: opts, store: opts.Store, metrics: opts.Metrics, sealer: s, tasks: newTasks(),
		log:       opts.Logger.With("component", "session"),
		wake:      make(chan struct{}, 1),
		suspects:  make(chan struct{}, 1),
		missed:    make(chan struct{}, 1),
		doubted:   make(chan struct{}, 1),
		proved:    newLRU[tokenSum, tokenEntry](opts.CacheSize),
		unproved:  newLRU[tokenSum, time.Time](opts.CacheSize),
		flights:   make(map[tokenSum]*flight),
		tracked:   make(map[string]*record),
		known:     newLRU[string, *record](opts.CacheSize),
		ended:     newLRU[string, endedEntry](opts.CacheSize),
		deadLinks: newLRU[string, deadLink](opts.CacheSize),
		names:     newLRU[string, nameEntry](opts.CacheSize),
	}
	a.turns = newTurns(opts, opts.Concurrency, a.tasks)
	a.linkTurn = newTurns(opts, linkSlots*opts.Concurrency, a.tasks)
	a.sessions = newBatcher(a.tasks, a.readSessions)
	a.links = newBatcher(a.tasks, a.readLinks)
	a.agents = newBatcher(a.tasks, a.readAgents)
	return a, nil
}

// Run rechecks tracked sessions, keeps their timers and calls Options.OnEnd until ctx ends. It runs once.
func (a *Authorizer) Run(ctx context.Context) error {
	if a.started.Swap(true) {
		return errors.New("run authoriser: it has run already")
	}
	defer a.tasks.close()
	var wg sync.WaitGroup
	wg.Go(func() { a.recheckLoop(ctx) })
	wg.Go(func() { a.suspectLoop(ctx) })
	wg.Go(func() { a.proofLoop(ctx) })
	a.watch(ctx)
	wg.Wait()
	return nil
}

// Authorize judges a credential. Its errors are *chat.Refusal, or ctx's. A token is looked at before a ticket; a ticket in the
// place of a token counts as a ticket. The grant's visitor may be granted on a reading that the rechecks will renew before it is
// Options.RecheckInterval old, and where the database does not answer on one up to Options.CachePositive and Options.ConfirmWithin old.
func (a *Authorizer) Authorize(ctx context.Context, c chat.Credential) (*chat.Grant, error) {
	credential := byTicket
	if c.Token != "" && !strings.HasPrefix(c.Token.Reveal(), TicketPrefix) {
		credential = byToken
	} else if c.Token != "" {
		c.Ticket = c.Token
	}
	g, err := a.authorize(ctx, credential, c)
	a.metrics.authorized(credential, err)
	return g, err
}

func (a *Authorizer) authorize(ctx context.Context, credential string, c chat.Credential) (*chat.Grant, error) {
	if credential == byToken {
		token, ok := normalize(c.Token)
		if !ok {
			return nil, chat.RefuseInvalid(errTokenForm)
		}
		v, err := a.byToken(ctx, token, c)
		if err != nil {
			return nil, err
		}
		return a.grant(v, token)
	}
	v, token, err := a.byTicket(ctx, c)
	if err != nil {
		return nil, err
	}
	return a.grant(v, token)
}

func (a *Authorizer) grant(v *chat.Visitor, token chat.Token) (*chat.Grant, error) {
	c := claims{
		kind: ticketResume, session: v.SessionID, token: token, issued: time.Now().Truncate(time.Second),
		life: a.opts.resumeLife(),
	}
	ticket, err := a.sealer.seal(c)
	if err != nil {
		return nil, a.unavailable(err)
	}
	return &chat.Grant{Visitor: v, Token: token, Ticket: ticket, TicketExpires: c.expires()}, nil
}

// URLTicket mints a ticket for use in a URL and tells its life in seconds.
func (a *Authorizer) URLTicket(g *chat.Grant) (ticket chat.Token, lifeSeconds int, err error) {
	life := max(a.opts.TicketLife.Truncate(time.Second), time.Second)
	ticket, err = a.sealer.seal(claims{
		kind: ticketURL, session: g.Visitor.SessionID, token: g.Token,
		// Rounded up, so that the life is never shorter than what is told.
		issued: time.Now().Add(time.Second - 1).Truncate(time.Second), life: life,
	})
	return ticket, int(life / time.Second), err
}

// unavailable refuses for now; the wait is spread so that refused visitors do not come back all at once.
func (a *Authorizer) unavailable(cause error) *chat.Refusal {
	ref := chat.RefuseUnavailable(time.Second+rand.N(4*time.Second), cause)
	ref.Quiet = errors.Is(cause, errTooMany)
	return ref
}
