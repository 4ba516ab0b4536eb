package session

import (
	"context"
	"errors"
	"regexp"
	"sync"
	"time"
)

const (
	batchSize = 100 // ids that fit one request
	// gather is how long the first of a batch waits for others.
	gather = 2 * time.Millisecond
	// maxWaiting bounds the ids that wait for one table.
	maxWaiting = 1 << 14
	// callTimeout bounds one call of the Store, whatever limit it has of its own.
	callTimeout = 15 * time.Second
)

var (
	errBusy    = errors.New("too many reads are waiting")
	errStopped = errors.New("the authoriser has stopped")
	errBadID   = errors.New("an id has an unknown form")
)

// idForm is what the database client admits as an id. One that it refuses would fail the batch for all others.
var idForm = regexp.MustCompile(`^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9]{1,19})$`)

// batcher joins reads by id into requests of up to batchSize, one at a time. Reads begin after they were asked for.
type batcher[T any] struct {
	read  func(ctx context.Context, ids []string) (map[string]T, error)
	tasks *tasks

	mu      sync.Mutex
	waiting map[string]*awaited[T]
	order   []string // keys of waiting, the oldest first
	running bool
}

// awaited is one id that somebody waits for. The fields are set before done is closed.
type awaited[T any] struct {
	done  chan struct{}
	value T
	found bool
	err   error
}

func newBatcher[T any](t *tasks, read func(context.Context, []string) (map[string]T, error)) *batcher[T] {
	return &batcher[T]{read: read, tasks: t, waiting: make(map[string]*awaited[T])}
}

// get reads one row. The end of ctx ends the wait, not the read.
func (b *batcher[T]) get(ctx context.Context, id string) (value T, found bool, err error) {
	w, err := b.join(id)
	if err != nil {
		return value, false, err
	}
	select {
	case <-w.done:
		return w.value, w.found, w.err
	case <-ctx.Done():
		return value, false, ctx.Err()
	}
}

func (b *batcher[T]) join(id string) (*awaited[T], error) {
	if !idForm.MatchString(id) {
		return nil, errBadID
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if w, ok := b.waiting[id]; ok {
		return w, nil
	}
	if len(b.order) >= maxWaiting {
		return nil, errBusy
	}
	if !b.running && !b.tasks.start(b.run) {
		return nil, errStopped
	}
	b.running = true
	w := &awaited[T]{done: make(chan struct{})}
	b.waiting[id] = w
	b.order = append(b.order, id)
	return w, nil
}

// run serves until nobody waits. After the end of ctx every read fails, so that no waiter is left.
func (b *batcher[T]) run(ctx context.Context) {
	timer := time.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	for {
		ids, batch := b.take()
		if len(ids) == 0 {
			return
		}
		b.serve(ctx, ids, batch)
	}
}

func (b *batcher[T]) take() (ids []string, batch []*awaited[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.order), batchSize)
	if n == 0 {
		b.running, b.order = false, nil
		return nil, nil
	}
	ids, b.order = b.order[:n:n], b.order[n:]
	for _, id := range ids {
		batch = append(batch, b.waiting[id])
		delete(b.waiting, id)
	}
	return ids, batch
}

func (b *batcher[T]) serve(ctx context.Context, ids []string, batch []*awaited[T]) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err := b.read(ctx, ids)
	for i, w := range batch {
		w.value, w.found = rows[ids[i]]
		w.err = err
		close(w.done)
	}
}
