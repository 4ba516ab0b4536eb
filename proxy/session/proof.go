package session

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// proofWidth is how many tokens are proved again at once.
const proofWidth = 4

// proof is a tracked session that its token has to confirm.
type proof struct {
	id      string
	token   chat.Token
	rowless bool
	since   time.Time // of the last confirmation
}

// wantProof notes sessions that their rows cannot confirm, because one of the tables cannot be read; rowless says that it is the sessions'.
func (a *Authorizer) wantProof(ids []string, rowless bool) {
	if len(ids) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		if rec := a.tracked[id]; rec != nil {
			rec.unproved, rec.rowless = true, rowless
		}
	}
	signal(a.doubted)
}

// proofLoop confirms sessions by their tokens, beside the rechecks: however slow the validation function is, what rows tell is seen in time.
// It is dear, so it is done only when half the time is over in which a session must be confirmed, and within the limits on the function.
func (a *Authorizer) proofLoop(ctx context.Context) {
	trouble := trouble{log: a.log, by: "tokens"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.doubted:
		}
		due := a.dueProofs()
		if len(due) == 0 {
			continue
		}
		var g errgroup.Group
		g.SetLimit(proofWidth)
		for _, p := range due {
			g.Go(func() error { return a.proveAgain(ctx, p) })
		}
		err := g.Wait()
		if ctx.Err() != nil {
			return
		}
		trouble.tell(err)
	}
}

// dueProofs returns the sessions whose turn it is, those first whose confirmation is the oldest.
func (a *Authorizer) dueProofs() (due []proof) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, rec := range a.tracked {
		asked := rec.rowless && rec.asked.After(rec.read) // no row tells of activity
		if rec.unproved && rec.token != "" && rec.over() == nil && (asked || a.unconfirmedLocked(rec)) {
			due = append(due, proof{id, rec.token, rec.rowless, rec.confirmed})
		}
	}
	slices.SortFunc(due, func(p, q proof) int { return cmp.Or(p.since.Compare(q.since), cmp.Compare(p.id, q.id)) })
	return due
}

func (a *Authorizer) proveAgain(ctx context.Context, p proof) error {
	one, err := a.turns.join(netip.Prefix{}, true)
	if err != nil {
		return err
	}
	answer, at, err := a.ask(ctx, p.token, one)
	switch {
	case err != nil:
		return err
	case !answer.Valid || answer.SessionID != p.id:
		a.end(p.id, endingOf(statusEnded, ""))
	default:
		a.apply(p.id, reading{at: at, rpc: &answer, rowless: p.rowless}, "")
	}
	return nil
}

// unconfirmedLocked tells that half the time is over in which the session must be confirmed.
func (a *Authorizer) unconfirmedLocked(rec *record) bool {
	return time.Since(rec.confirmed) >= a.opts.ConfirmWithin/2
}

// trouble says once that sessions cannot be confirmed, and once that they can again.
type trouble struct {
	log     *slog.Logger
	by      string
	failing bool
}

func (t *trouble) tell(err error) {
	switch {
	case err != nil && !t.failing:
		t.log.Warn("sessions not confirmed", "by", t.by, "err", err)
	case err == nil && t.failing:
		t.log.Info("sessions confirmed again", "by", t.by)
	}
	t.failing = err != nil
}
