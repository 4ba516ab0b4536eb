package stack

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

const (
	signalInterrupt = syscall.SIGINT  // PostgreSQL: fast shutdown
	signalQuit      = syscall.SIGQUIT // PostgreSQL: immediate shutdown, as after a crash
	signalReload    = syscall.SIGUSR1 // PostgREST: reload the schema cache
)

// account is the user whom the servers run as.
type account struct {
	uid, gid int
	foreign  bool // not the user of the test
}

// serverAccount is the test's own user, or nobody when that is root.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return account{}, fmt.Errorf("find a user for PostgreSQL, which refuses root: %w", err)
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user nobody: %w", err)
	}
	gid, err := strconv.Atoi(nobody.Gid)
	if err != nil {
		return account{}, fmt.Errorf("user nobody: %w", err)
	}
	return account{uid: uid, gid: gid, foreign: true}, nil
}

// attributes make a child end with the thread that started it and stay out of the terminal's signals.
func (a account) attributes(whenOrphaned syscall.Signal) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: whenOrphaned}
	if a.foreign {
		attributes.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attributes
}

// killGroup ends a child and what shares its process group.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // fails only when nothing is left to kill

// tryLock takes a lock that ends with f or with the test binary, whichever is first.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
