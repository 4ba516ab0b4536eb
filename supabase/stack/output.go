package stack

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

const (
	keptLines    = 40      // of a server's output, for errors
	maxLineBytes = 4 << 10 // of a line; the rest is dropped
)

// output takes what a server prints: the last lines are kept, every line is logged, waiters are told.
type output struct {
	name string
	log  *slog.Logger

	mu      sync.Mutex
	partial []byte
	lines   []string
	waiters map[*waiter]struct{}
}

// waiter waits for a line that contains text; seen is closed then.
type waiter struct {
	text string
	seen chan struct{}
}

func (w *waiter) matches(line string) bool { return strings.Contains(line, w.text) }

// await returns a channel that is closed when a line contains text, at once if a kept one does. forget ends the wait.
func (o *output) await(text string) (seen <-chan struct{}, forget func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := &waiter{text: text, seen: make(chan struct{})}
	if slices.ContainsFunc(o.lines, w.matches) {
		close(w.seen)
		return w.seen, func() {}
	}
	if o.waiters == nil {
		o.waiters = make(map[*waiter]struct{})
	}
	o.waiters[w] = struct{}{}
	return w.seen, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.waiters, w)
	}
}

// Write never fails, so that the server never sees a broken pipe.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, complete := bytes.Cut(rest, []byte{'\n'})
		if room := maxLineBytes - len(o.partial); room > 0 {
			o.partial = append(o.partial, line[:min(room, len(line))]...)
		}
		if complete {
			o.lineLocked(string(o.partial))
			o.partial = o.partial[:0]
		}
		rest = after
	}
	return len(p), nil
}

func (o *output) lineLocked(line string) {
	o.lines = append(o.lines, line)
	if len(o.lines) > keptLines {
		o.lines = o.lines[len(o.lines)-keptLines:]
	}
	o.log.LogAttrs(context.Background(), slog.LevelDebug, "server output", slog.String("server", o.name), slog.String("line", line))
	for w := range o.waiters {
		if w.matches(line) {
			close(w.seen)
			delete(o.waiters, w)
		}
	}
}

// String returns the last lines.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(append(o.lines[:len(o.lines):len(o.lines)], string(o.partial)), "\n")
}
