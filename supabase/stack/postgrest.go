package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	authenticator  = "authenticator"
	maxRows        = 1000 // of one answer, as on hosted projects
	pollEvery      = 10 * time.Millisecond
	requestTimeout = 5 * time.Second
	restShutdown   = 10 * time.Second
)

// restEnvironment is the configuration of PostgREST, out of sight of other users.
func (s *Stack) restEnvironment() []string {
	return append(serverEnvironment(s.dir),
		"PGRST_DB_URI="+s.dsn(authenticator, s.restPassword),
		"PGRST_DB_SCHEMAS=public",
		"PGRST_DB_ANON_ROLE=anon",
		"PGRST_DB_MAX_ROWS="+strconv.Itoa(maxRows),
		"PGRST_DB_POOL=10",
		"PGRST_JWT_SECRET="+JWTSecret,
		"PGRST_SERVER_HOST=127.0.0.1",
		"PGRST_SERVER_PORT="+strconv.Itoa(s.restPort),
		"PGRST_ADMIN_SERVER_PORT="+strconv.Itoa(s.restAdminPort),
		"PGRST_LOG_LEVEL=error",
	)
}

// launchREST starts PostgREST on its two ports and waits until it has read the schema.
func (s *Stack) launchREST(ctx context.Context) error {
	command := s.command("postgrest", s.cluster.programs.postgrest, nil)
	command.env, command.whenOrphaned = s.restEnvironment(), syscall.SIGKILL
	p, err := launch(command)
	if err != nil {
		return err
	}
	s.postgrest = p
	if err := s.waitREST(ctx, p); err != nil {
		p.kill()
		return err
	}
	return nil
}

// firstREST starts PostgREST on ports that turn out to be free.
func (s *Stack) firstREST(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		var err error
		if s.restPort, err = freePort(); err != nil {
			return err
		}
		if s.restAdminPort, err = freePort(); err != nil {
			return err
		}
		if err = s.launchREST(ctx); err == nil {
			return nil
		}
		if attempt == portAttempts || s.postgrest == nil || !s.postgrest.portTaken() && s.restPort != s.restAdminPort {
			return err
		}
	}
}

// StartPostgREST starts PostgREST again, on the same port.
func (s *Stack) StartPostgREST(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errStopped
	}
	if s.postgrest != nil && s.postgrest.running() {
		return errors.New("start postgrest: it is running")
	}
	return s.launchREST(ctx)
}

// KillPostgREST ends PostgREST at once, as a crash would.
func (s *Stack) KillPostgREST() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.postgrest != nil {
		s.postgrest.kill()
	}
}

// WaitREST waits until PostgREST is connected and has read the schema, as after a restart of the database.
func (s *Stack) WaitREST(ctx context.Context) error {
	s.mu.Lock()
	p := s.postgrest
	s.mu.Unlock()
	return s.waitREST(ctx, p)
}

func (s *Stack) waitREST(ctx context.Context, p *server) error {
	if p == nil {
		return errStopped
	}
	ready := "http://" + address(s.restAdminPort) + "/ready"
	query := s.RESTURL() + "/agents?limit=0" // a connection that died is noticed when it is used
	return s.poll(ctx, p, "wait for postgrest", func(ctx context.Context) bool {
		return s.status(ctx, http.MethodGet, ready, "") == http.StatusOK &&
			s.status(ctx, http.MethodGet, query, s.serviceKey) == http.StatusOK
	})
}

// ReloadSchema makes PostgREST read the schema again and waits until it has: it knows a function then that was made before.
func (s *Stack) ReloadSchema(ctx context.Context) (err error) {
	s.mu.Lock()
	p := s.postgrest
	s.reloads++
	marker := "stack_reload_" + strconv.Itoa(s.reloads)
	s.mu.Unlock()
	if p == nil || !p.running() {
		return nil // it will read the schema when it starts
	}
	if err := s.Exec(ctx, "create function public."+marker+"() returns integer language sql as 'select 1'"); err != nil {
		return fmt.Errorf("reload schema: %w", err)
	}
	defer func() {
		if dropped := s.Exec(ctx, "drop function public."+marker+"()"); err == nil && dropped != nil {
			err = fmt.Errorf("reload schema: %w", dropped)
		}
	}()
	if err := p.cmd.Process.Signal(signalReload); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("reload schema: %w", err)
	}
	return s.poll(ctx, p, "reload schema", func(ctx context.Context) bool {
		return s.status(ctx, http.MethodPost, s.RESTURL()+"/rpc/"+marker, s.ServiceKey()) == http.StatusOK
	})
}

// poll asks again and again until done, the end of PostgREST, or the end of ctx or of startTimeout.
func (s *Stack) poll(ctx context.Context, p *server, operation string, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for !done(ctx) {
		select {
		case <-ticker.C:
		case <-p.done:
			return fmt.Errorf("%s: %w", operation, p.exited())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %s", operation, context.Cause(ctx), p.output)
		}
	}
	return nil
}

// status of one small request, 0 without an answer.
func (s *Stack) status(ctx context.Context, method, url, key string) int {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(""))
	if err != nil {
		return 0
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()                                      // read only
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // only so that the connection can be used again
	return response.StatusCode
}

// stopRESTLocked ends PostgREST in good order.
func (s *Stack) stopRESTLocked() error {
	if s.postgrest == nil {
		return nil
	}
	return s.postgrest.stop(stopStep{syscall.SIGTERM, restShutdown})
}
