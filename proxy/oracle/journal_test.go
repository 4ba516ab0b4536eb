package oracle_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// journal is the event log of a run. Safe for concurrent use.
type journal struct {
	began time.Time
	mu    sync.Mutex
	text  bytes.Buffer
}

func newJournal() *journal { return &journal{began: time.Now()} }

// now is the time since the start of the run.
func (j *journal) now() time.Duration { return time.Since(j.began) }

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(&j.text, "%12.6f ", j.now().Seconds())
	fmt.Fprintf(&j.text, format, args...)
	j.text.WriteByte('\n')
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Write takes the lines of a log handler.
func (j *journal) Write(p []byte) (int, error) {
	j.note("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

func (j *journal) handler(name string) slog.Handler {
	h := slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}})
	return h.WithAttrs([]slog.Attr{slog.String("host", name)})
}
