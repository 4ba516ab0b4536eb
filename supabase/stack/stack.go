package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// requireAll makes tests fail, instead of being skipped, where something is missing.
const requireAll = "REQUIRE_ALL"

var errStopped = errors.New("the stack has been stopped")

// Options configure a stack. The zero value is the embedded PostgreSQL with an empty chat schema.
type Options struct {
	Postgres string            // Embedded (default) or Debian
	Profile  Profile           // what the database holds
	Settings map[string]string // of PostgreSQL, beside those that a test needs
	Logger   *slog.Logger      // receives the output of the servers at level debug; nil discards
}

// Stack is a running PostgreSQL with a running PostgREST. Its methods may be called concurrently.
type Stack struct {
	// Fixed when Start returns.
	options             Options
	log                 *slog.Logger
	serviceKey, anonKey string
	restPassword        string // of the login that PostgREST uses
	transport           *http.Transport
	cluster             cluster
	dir, data           string
	port                int // of PostgreSQL
	restPort            int
	restAdminPort       int

	mu        sync.Mutex // held while a server starts or stops
	postgres  *server    // the latest, nil before the first
	postgrest *server    // likewise
	reloads   int
	stopped   bool
}

// Start brings up PostgreSQL with the profile's schema, and PostgREST, and takes both down with everything they left when t
// is over. Where Available says no, t is skipped, or fails when the environment has REQUIRE_ALL=1.
func Start(t testing.TB, o Options) *Stack {
	t.Helper()
	if o.Postgres == "" {
		o.Postgres = Embedded
	}
	if err := Available(o.Postgres); err != nil {
		if os.Getenv(requireAll) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s, err := newStack(o)
	if err != nil {
		t.Fatal(err)
	}
	shared.hold()
	t.Cleanup(func() {
		if err := errors.Join(s.stop(), shared.release()); err != nil {
			t.Error(err)
		}
	})
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func newStack(o Options) (*Stack, error) {
	s := &Stack{options: o, restPassword: rand.Text(), transport: newTransport(), log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.serviceKey, err = Token("service_role", ""); err != nil {
		return nil, err
	}
	s.anonKey, err = Token("anon", "")
	return s, err
}

// start runs before anybody else has s.
func (s *Stack) start(ctx context.Context) error {
	files, err := s.options.Profile.Files()
	if err != nil {
		return err
	}
	if s.cluster, s.dir, err = shared.cluster(ctx, s.options.Postgres, serverCommand{log: s.log}); err != nil {
		return err
	}
	s.data = filepath.Join(s.dir, "data")
	all := func(string) bool { return true }
	if err := s.cluster.account.copyTree(s.cluster.data, s.data, all); err != nil {
		return fmt.Errorf("copy the cluster: %w", err)
	}
	if err := s.firstPostgres(ctx); err != nil {
		return err
	}
	if err := s.Apply(ctx, files...); err != nil {
		return err
	}
	if err := s.Exec(ctx, "alter role "+authenticator+" password '"+s.restPassword+"'"); err != nil {
		return err
	}
	return s.firstREST(ctx)
}

// stop ends both servers and removes their files.
func (s *Stack) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.transport.CloseIdleConnections()
	err := errors.Join(s.stopRESTLocked(), s.stopPostgresLocked())
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// command is what all servers of the stack have in common.
func (s *Stack) command(name, path string, args []string) serverCommand {
	return serverCommand{
		name: name, path: path, args: args, env: serverEnvironment(s.dir), dir: s.dir, account: s.cluster.account, log: s.log,
	}
}

// DSN is the address of the database for its superuser, password included. It stays the same when PostgreSQL is restarted.
func (s *Stack) DSN() string { return s.dsn(superuser, s.cluster.password) }

// RESTURL is where PostgREST itself listens, without /rest/v1; clients of a project need Handler. It stays the same.
func (s *Stack) RESTURL() string { return "http://" + address(s.restPort) }

// ServiceKey is a JWT of service_role.
func (s *Stack) ServiceKey() string { return s.serviceKey }

// AnonKey is a JWT of anon.
func (s *Stack) AnonKey() string { return s.anonKey }

// Conn opens a connection of the superuser, which the caller closes.
func (s *Stack) Conn(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, s.DSN())
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	return conn, nil
}

// Exec runs SQL as superuser on a connection of its own: several statements, which are one transaction, or one with
// arguments.
func (s *Stack) Exec(ctx context.Context, sql string, args ...any) (err error) {
	conn, err := s.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if len(args) > 0 {
		_, err = conn.Exec(ctx, sql, args...)
		return err
	}
	return execScript(ctx, conn, sql)
}

func execScript(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// Apply runs files of testdata/sql, each in a transaction of its own, and lets a running PostgREST read the schema again.
func (s *Stack) Apply(ctx context.Context, files ...string) error {
	if err := s.apply(ctx, files); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return s.ReloadSchema(ctx)
}

func (s *Stack) apply(ctx context.Context, files []string) (err error) {
	conn, err := s.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, name := range files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%s is no file of testdata/sql", name)
		}
		path, err := sourcePath("testdata", "sql", name)
		if err != nil {
			return err
		}
		sql, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := execScript(ctx, conn, string(sql)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
