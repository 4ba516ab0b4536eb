package wal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const (
	defaultPublication = "supabase_realtime"
	firstRetry         = 50 * time.Millisecond
	lastRetry          = 2 * time.Second
	dialTimeout        = 5 * time.Second
	poolSize           = 4
)

// ErrNotStreaming reports a question to a source that has no replication slot open.
var ErrNotStreaming = errors.New("no replication slot open")

// Options configure a Source.
type Options struct {
	DSN         string       // URL or key=value; the role needs REPLICATION and must be able to SET ROLE to the roles of Realtime
	Publication string       // empty means supabase_realtime
	Logger      *slog.Logger // nil discards
}

// Sink takes the changes of one committed transaction. An error means that they are lost; the source opens a new slot.
type Sink func(ctx context.Context, changes []standin.Change) error

// Source is a standin.ChangeSource on a PostgreSQL database.
type Source struct {
	publication string
	log         *slog.Logger
	replication *pgconn.Config
	queries     *pgxpool.Config

	mu        sync.Mutex
	pool      *pgxpool.Pool // nil outside Run
	streaming bool
	changed   chan struct{} // closed and replaced when streaming changes
}

var _ standin.ChangeSource = (*Source)(nil)

// New checks the options. It does not connect.
func New(opts Options) (*Source, error) {
	s := &Source{publication: opts.Publication, log: opts.Logger, changed: make(chan struct{})}
	if s.publication == "" {
		s.publication = defaultPublication
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.replication, err = pgconn.ParseConfig(opts.DSN); err != nil {
		return nil, errors.New("parse dsn: not a PostgreSQL connection string") // the cause may quote the password
	}
	if s.queries, err = poolConfig(opts.DSN); err != nil {
		return nil, err
	}
	s.replication.ConnectTimeout = dialTimeout
	outputForms(s.replication.RuntimeParams)
	s.replication.RuntimeParams["replication"] = "database"
	return s, nil
}

func poolConfig(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("parse dsn: not a PostgreSQL connection string")
	}
	config.MaxConns = poolSize
	config.ConnConfig.ConnectTimeout = dialTimeout
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // tables and types may be replaced at any time
	outputForms(config.ConnConfig.RuntimeParams)
	return config, nil
}

// outputForms fixes what the text forms of values depend on.
func outputForms(params map[string]string) {
	for name, value := range map[string]string{
		"TimeZone": "UTC", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "bytea_output": "hex", "extra_float_digits": "1",
		"application_name": "standin",
	} {
		params[name] = value
	}
}

// Run streams changes into sink until ctx ends, then returns nil.
func (s *Source) Run(ctx context.Context, sink Sink) error {
	pool, err := pgxpool.NewWithConfig(ctx, s.queries)
	if err != nil {
		return fmt.Errorf("open connection pool: %w", err)
	}
	s.setPool(pool)
	defer pool.Close()
	defer s.setPool(nil)
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		began := time.Now()
		err := s.stream(ctx, pool, sink)
		s.setStreaming(false)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > lastRetry {
			wait = firstRetry
		}
		pause := wait/2 + rand.N(wait/2)
		s.log.Warn("replication lost", "err", err, "retry_in", pause)
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// WaitStreaming blocks until a slot is open: what is committed from then on reaches the sink.
func (s *Source) WaitStreaming(ctx context.Context) error { return s.wait(ctx, true) }

// WaitLost blocks until no slot is open.
func (s *Source) WaitLost(ctx context.Context) error { return s.wait(ctx, false) }

func (s *Source) wait(ctx context.Context, streaming bool) error {
	for {
		s.mu.Lock()
		done, changed := s.streaming == streaming, s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Source) setPool(pool *pgxpool.Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool = pool
}

func (s *Source) setStreaming(streaming bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streaming != streaming {
		s.streaming = streaming
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// connected gives the pool while a slot is open.
func (s *Source) connected() (*pgxpool.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool == nil || !s.streaming {
		return nil, ErrNotStreaming
	}
	return s.pool, nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
