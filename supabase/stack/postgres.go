package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	superuser    = "postgres"
	database     = "postgres"
	readyLine    = "database system is ready to accept connections"
	startTimeout = 60 * time.Second
	portAttempts = 5

	// A fast shutdown waits until replication connections have confirmed everything.
	fastShutdown      = 10 * time.Second
	immediateShutdown = 10 * time.Second
)

// initialise makes a cluster in dir whose superuser has a random password.
func (a account) initialise(ctx context.Context, p programs, dir string, command serverCommand) (cluster, error) {
	c := cluster{account: a, programs: p, data: filepath.Join(dir, "data"), password: rand.Text()}
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(c.password+"\n"), 0o600); err != nil {
		return cluster{}, err
	}
	if err := a.own(passwordFile); err != nil {
		return cluster{}, err
	}
	command.name, command.path, command.dir, command.account = "initdb", filepath.Join(p.bin, "initdb"), dir, a
	command.whenOrphaned, command.env = signalQuit, serverEnvironment(dir)
	command.args = []string{
		"--pgdata=" + c.data, "--username=" + superuser, "--pwfile=" + passwordFile, "--auth=scram-sha-256",
		"--encoding=UTF8", "--no-locale", "--no-sync", "--wal-segsize=1",
	}
	if err := run(ctx, command); err != nil {
		return cluster{}, err
	}
	return c, os.Remove(passwordFile)
}

// serverEnvironment is all that a server gets of the test's environment: nothing.
func serverEnvironment(dir string) []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C", "TZ=UTC"}
}

// settings of a database that is thrown away; Options.Settings come after them.
var settings = []string{
	"listen_addresses=127.0.0.1", "unix_socket_directories=", "logging_collector=off", "log_destination=stderr",
	"log_min_error_statement=panic", // statements hold tokens
	"timezone=UTC", "max_connections=100", "shared_buffers=16MB", "min_wal_size=2MB",
	"fsync=off", "full_page_writes=off", "wal_level=logical", "max_wal_senders=20", "max_replication_slots=20",
}

// postgresArguments are the command line of a stack's server.
func (s *Stack) postgresArguments() []string {
	arguments := []string{"-D", s.data, "-p", strconv.Itoa(s.port)}
	add := func(setting string) { arguments = append(arguments, "-c", setting) }
	for _, setting := range settings {
		add(setting)
	}
	for name, value := range s.options.Settings {
		add(name + "=" + value)
	}
	return arguments
}

// launchPostgres starts the server on s.port and waits until it accepts connections.
func (s *Stack) launchPostgres(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	command := s.command("postgres", filepath.Join(s.cluster.programs.bin, "postgres"), s.postgresArguments())
	command.whenOrphaned = signalQuit
	p, err := launch(command)
	if err != nil {
		return err
	}
	s.postgres = p
	seen, forget := p.output.await(readyLine)
	defer forget()
	select {
	case <-seen:
		return nil
	case <-p.done:
		return p.exited()
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("start postgres: %w: %s", context.Cause(ctx), p.output)
	}
}

// firstPostgres starts the server on a port that turns out to be free.
func (s *Stack) firstPostgres(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port = port
		if err = s.launchPostgres(ctx); err == nil {
			return nil
		}
		if attempt == portAttempts || s.postgres == nil || !s.postgres.portTaken() {
			return err
		}
	}
}

// StartPostgres starts the server again, on the same port and with what it had stored.
func (s *Stack) StartPostgres(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errStopped
	}
	if s.postgres != nil && s.postgres.running() {
		return errors.New("start postgres: it is running")
	}
	return s.launchPostgres(ctx)
}

// StopPostgres shuts the server down, cutting all connections. Nothing committed is lost.
func (s *Stack) StopPostgres() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopPostgresLocked()
}

func (s *Stack) stopPostgresLocked() error {
	if s.postgres == nil {
		return nil
	}
	return s.postgres.stop(stopStep{signalInterrupt, fastShutdown}, stopStep{signalQuit, immediateShutdown})
}

// dsn is the address of the database for a login.
func (s *Stack) dsn(login, password string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(login, password), Host: address(s.port), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}
