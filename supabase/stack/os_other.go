//go:build !linux

package stack

import (
	"os"
	"syscall"
)

// Available refuses every other system before any of this is used.

const (
	signalInterrupt = syscall.SIGINT
	signalQuit      = syscall.SIGQUIT
	signalReload    = syscall.SIGHUP
)

type account struct {
	uid, gid int
	foreign  bool
}

func serverAccount() (account, error) { return account{}, nil }

func (account) attributes(syscall.Signal) *syscall.SysProcAttr { return nil }

func killGroup(int) {}

func tryLock(*os.File) bool { return false }
