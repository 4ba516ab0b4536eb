package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	directoryPattern = "realtime-proxy-stack-*"
	lockName         = "lock"
	sweepAge         = time.Minute // a younger directory may not have its lock yet
	initTimeout      = 2 * time.Minute
)

// shared is what the stacks of one test binary have in common: copied programs and initialised clusters, in one directory.
var shared store

type store struct {
	mu       sync.Mutex
	holders  int
	dir      string
	lock     *os.File
	account  account
	clusters map[string]cluster
	stacks   int // directories handed out
}

// cluster is an initialised but never started database, to be copied.
type cluster struct {
	account  account // whom the files belong to
	programs programs
	data     string
	password string // of the superuser
}

// Hold keeps what stacks share until release is called, so that tests that run one after the other prepare it once. The
// last release removes it.
func Hold() (release func()) {
	shared.hold()
	return sync.OnceFunc(func() { _ = shared.release() }) // what is left is removed by a later Start
}

func (s *store) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders++
}

func (s *store) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders--
	if s.holders > 0 || s.dir == "" {
		return nil
	}
	err := errors.Join(os.RemoveAll(s.dir), s.lock.Close())
	s.dir, s.lock, s.clusters = "", nil, nil
	return err
}

// cluster returns the prepared cluster of a kind and a new directory for one stack. The caller has called hold.
func (s *store) cluster(ctx context.Context, kind string, run serverCommand) (cluster, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.openLocked(); err != nil {
		return cluster{}, "", err
	}
	c, ok := s.clusters[kind]
	if !ok {
		var err error
		if c, err = s.prepareLocked(ctx, kind, run); err != nil {
			return cluster{}, "", fmt.Errorf("prepare %s PostgreSQL: %w", kind, err)
		}
		s.clusters[kind] = c
	}
	s.stacks++
	dir := filepath.Join(s.dir, "stack-"+strconv.Itoa(s.stacks))
	return c, dir, s.account.makeDir(dir)
}

// openLocked makes the directory, and removes those of test binaries that died.
func (s *store) openLocked() error {
	if s.dir != "" {
		return nil
	}
	sweep()
	a, err := serverAccount()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", directoryPattern)
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return errors.Join(fmt.Errorf("make a lock: %w", err), os.RemoveAll(dir))
	}
	if !tryLock(lock) {
		return errors.Join(errors.New("lock a new directory: it is locked"), lock.Close(), os.RemoveAll(dir))
	}
	if err := a.own(dir); err != nil {
		return errors.Join(err, lock.Close(), os.RemoveAll(dir))
	}
	s.dir, s.lock, s.account, s.clusters = dir, lock, a, make(map[string]cluster)
	return nil
}

// prepareLocked copies the programs, which nobody could not reach everywhere, and initialises a cluster.
func (s *store) prepareLocked(ctx context.Context, kind string, run serverCommand) (cluster, error) {
	p, err := locate(kind)
	if err != nil {
		return cluster{}, err
	}
	base := filepath.Join(s.dir, kind)
	if err := errors.Join(os.RemoveAll(base), s.account.makeDir(base)); err != nil {
		return cluster{}, err
	}
	if p, err = s.account.copyPrograms(p, base); err != nil {
		return cluster{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	return s.account.initialise(ctx, p, base, run)
}

// sweep removes the directories of test binaries that ended without doing so. What cannot be removed is left.
func sweep() {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), directoryPattern)) // the pattern is well-formed
	for _, dir := range found {
		if i, err := os.Lstat(dir); err != nil || !i.IsDir() || time.Since(i.ModTime()) < sweepAge {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if tryLock(lock) {
			_ = os.RemoveAll(dir) // another user's, or in use after all
		}
		_ = lock.Close() // nothing was written
	}
}
