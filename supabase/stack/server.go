package stack

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// orphanWait is how long a server's own children may outlive it before its output is given up.
const orphanWait = 10 * time.Second

// server is one running child.
type server struct {
	name   string
	cmd    *exec.Cmd
	output *output
	done   chan struct{} // closed when the child and all that share its output are gone
	err    error         // how it ended; read after done
}

// serverCommand says what to run.
type serverCommand struct {
	name         string
	path         string
	args         []string
	env          []string // the whole environment
	dir          string
	account      account
	whenOrphaned syscall.Signal
	log          *slog.Logger
}

// launch starts a child. It ends when stopped, or when this program dies.
func launch(c serverCommand) (*server, error) {
	s := &server{
		name:   c.name,
		cmd:    exec.Command(c.path, c.args...),
		output: &output{name: c.name, log: c.log},
		done:   make(chan struct{}),
	}
	s.cmd.Env, s.cmd.Dir = c.env, c.dir
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = c.account.attributes(c.whenOrphaned)
	s.cmd.WaitDelay = orphanWait
	started := make(chan error)
	go func() {
		defer close(s.done)
		// The kernel signals an orphan when the thread that started it ends, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-s.done
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	return s, nil
}

// pid of the child; its children have others.
func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// stopStep is a signal and how long it may take to work.
type stopStep struct {
	signal os.Signal
	wait   time.Duration
}

// stop sends one signal after the other until the child has ended. It returns an error when none but SIGKILL helped.
func (s *server) stop(steps ...stopStep) error {
	for _, step := range steps {
		if err := s.cmd.Process.Signal(step.signal); err != nil {
			<-s.done // it has ended already
			return nil
		}
		timer := time.NewTimer(step.wait)
		select {
		case <-s.done:
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
	s.kill()
	return fmt.Errorf("stop %s: it had to be killed: %s", s.name, s.output)
}

// kill ends the child at once and waits for it.
func (s *server) kill() {
	if s.running() {
		killGroup(s.pid())
	}
	<-s.done
}

// exited describes an end that nobody asked for.
func (s *server) exited() error {
	return fmt.Errorf("%s ended (%v): %s", s.name, s.err, s.output)
}

// portTaken tells whether a server that ended early did so because another program has its port.
func (s *server) portTaken() bool {
	return !s.running() && strings.Contains(s.output.String(), "Address already in use")
}

// run executes a program that ends by itself.
func run(ctx context.Context, c serverCommand) error {
	s, err := launch(c)
	if err != nil {
		return err
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		s.kill()
		return fmt.Errorf("%s: %w", c.name, context.Cause(ctx))
	}
	if s.err != nil {
		return s.exited()
	}
	return nil
}
