package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// attack is one kind of hostile visitor. try plays it once and returns how the proxy answered: a status, a close code, or cut.
type attack struct {
	name string
	// allowed are the answers that keep the promise.
	allowed []string
	// perSecond is how often it begins, atOnce how many may be under way.
	perSecond, atOnce int
	try               func(ctx context.Context, target string, from *source) (outcome string, err error)
}

// The answers.
const (
	cut        = "cut"        // closed without a word
	unanswered = "unanswered" // nothing came in time
	left       = "left"       // without waiting for one
)

// patience is how long a hostile visitor waits for what has to happen to it within the time-outs of the proxy.
const patience = 20 * time.Second

// attacks are all kinds, those with bad tokens perSecond times a second. tokensAtOnce bounds their connections.
func attacks(perSecond int) []attack {
	const some, few, rare = 50, 20, 5
	return []attack{
		{"bad token", []string{"401", "429", "503"}, perSecond, 512, badToken},
		{"bad token on a WebSocket", []string{"4401", "4429", "4503"}, few, 64, badTokenSocket},
		{"bad token of a Realtime channel", []string{"refused", "1001"}, few, 100, badTokenChannel},
		{"bad token, and gone", []string{left}, some, 64, hangUp},
		{"bad token of a link", []string{"404", "429", "503"}, some, 64, badLink},
		{"slow header", []string{cut}, some, 200, slowHeader},
		{"slow body", []string{cut, "HTTP/1.1 408 Request Timeout"}, some, 200, slowBody},
		{"silent connection", []string{cut}, some, 200, silentConnection},
		{"half-open WebSocket", []string{"4408"}, some, 400, halfOpenSocket},
		{"5 MB frame", []string{"1009"}, rare, 10, giantFrame},
		{"compressed frame", []string{"1002"}, few, 20, compressedFrame},
		{"frame without a mask", []string{"1002"}, few, 20, unmaskedFrame},
		{"gzip body", []string{"415"}, few, 20, encodedBody},
		{"128 KiB body", []string{"413"}, rare, 10, giantBody},
		{"128 KiB header", []string{"431"}, rare, 10, giantHeader},
	}
}

// outcomes counts the answers to one kind of attack.
type outcomes struct {
	Attack  string         `json:"attack"`
	Seen    map[string]int `json:"seen"`
	Allowed []string       `json:"allowed"`
}

// merged adds the outcomes of the same attacks in another round. all is empty in the first.
func merged(all, more []*outcomes) []*outcomes {
	if len(all) == 0 {
		return more
	}
	for i, o := range more {
		for answer, n := range o.Seen {
			all[i].Seen[answer] += n
		}
	}
	return all
}

// unexpected are the answers that break the promise.
func (o *outcomes) unexpected() (broken []string) {
	for _, seen := range slices.Sorted(maps.Keys(o.Seen)) {
		if !slices.Contains(o.Allowed, seen) {
			broken = append(broken, seen)
		}
	}
	return broken
}

// assault plays all attacks until ctx ends, and waits for those that have begun.
func assault(ctx context.Context, target string, sources []*source, kinds []attack) []*outcomes {
	all := make([]*outcomes, len(kinds))
	var g errgroup.Group
	for i, a := range kinds {
		all[i] = &outcomes{Attack: a.name, Seen: make(map[string]int), Allowed: a.allowed}
		g.Go(func() error { a.play(ctx, target, sources, all[i]); return nil })
	}
	_ = g.Wait() // players return nothing
	return all
}

// play begins an attack so many times a second until ctx ends. What has begun is played to its end, so that every answer counts.
func (a *attack) play(ctx context.Context, target string, sources []*source, o *outcomes) {
	var mu sync.Mutex
	var running errgroup.Group
	running.SetLimit(a.atOnce)
	limiter := rate.NewLimiter(rate.Limit(a.perSecond), max(1, a.perSecond/50))
	for i := rand.N(len(sources)); limiter.Wait(ctx) == nil; i++ {
		from := sources[i%len(sources)]
		running.Go(func() error {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience+dialTimeout)
			defer cancel()
			outcome, err := a.try(bounded, target, from)
			if err != nil {
				outcome = "error: " + short(err)
			}
			mu.Lock()
			defer mu.Unlock()
			o.Seen[outcome]++
			return nil
		})
	}
	_ = running.Wait() // tries return nothing
}

// short is the innermost text of an error, without addresses, so that equal ones are counted together.
func short(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// wrongToken has the form of a token and proves nothing. No two are alike.
func wrongToken() string {
	return fmt.Sprintf("wrong-%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64())
}
