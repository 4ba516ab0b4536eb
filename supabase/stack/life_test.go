package stack_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
)

// children are the ids of PostgreSQL, of what it has started, and of PostgREST.
func children(t *testing.T, s *stack.Stack) []int {
	t.Helper()
	postgres, postgrest := s.PIDs()
	pids := []int{postgres, postgrest}
	tasks, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range tasks {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// pid (command) state parent ...
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(postgres) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestAStackLeavesNoChildAndNoFile(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			var pids []int
			var dir string
			t.Run("running", func(t *testing.T) {
				s := stack.Start(t, stack.Options{Postgres: kind})
				pids, dir = children(t, s), s.Dir()
				for _, pid := range pids {
					assert.True(t, alive(pid))
				}
				assert.Equal(t, http.StatusOK, request{path: "agents", key: s.ServiceKey()}.do(t, s).status)
				assert.DirExists(t, dir)
			})
			if dir == "" {
				return // it was skipped
			}
			assert.Greater(t, len(pids), 4, "PostgreSQL has children")
			for _, pid := range pids {
				assert.False(t, alive(pid), "pid %d is left", pid)
			}
			assert.NoDirExists(t, dir)
		})
	}
}

func TestARunningStack(t *testing.T) {
	s := stack.Start(t, stack.Options{Settings: map[string]string{"wal_sender_timeout": "7s"}})

	t.Run("does not run as root", func(t *testing.T) {
		for _, pid := range children(t, s) {
			status, err := os.Stat("/proc/" + strconv.Itoa(pid))
			require.NoError(t, err)
			assert.NotZero(t, status.Sys().(*syscall.Stat_t).Uid)
		}
	})
	t.Run("has the settings asked for", func(t *testing.T) {
		assert.Equal(t, "7s", value[string](t, s, "show wal_sender_timeout"))
		assert.Equal(t, "logical", value[string](t, s, "show wal_level"))
	})
	t.Run("serves nothing but REST", func(t *testing.T) {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth/v1/health", nil))
		assert.Equal(t, http.StatusNotFound, w.Code)
	})
	t.Run("calls a new function after a reload", func(t *testing.T) {
		fresh := rpc("fresh", s.AnonKey(), `{}`)
		assert.Equal(t, "PGRST202", fresh.do(t, s).code)
		require.NoError(t, s.Exec(t.Context(), "create function public.fresh() returns integer language sql as 'select 7'"))
		require.NoError(t, s.ReloadSchema(t.Context()))
		assert.Equal(t, "7", fresh.do(t, s).body)
		assert.Zero(t, value[int](t, s, "select count(*) from pg_proc where proname like 'stack_reload%'"))
	})
	t.Run("demands passwords", func(t *testing.T) {
		address, err := url.Parse(s.DSN())
		require.NoError(t, err)
		address.User = url.UserPassword("postgres", "postgres")
		_, err = pgx.Connect(t.Context(), address.String())
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "28P01", refused.Code)
	})
	t.Run("applies files of testdata/sql only", func(t *testing.T) {
		require.Error(t, s.Apply(t.Context(), "../../go.mod"))
		require.ErrorIs(t, s.Apply(t.Context(), "99_missing.sql"), fs.ErrNotExist)
	})
}

func TestADatabaseRestartKeepsRowsAndAddresses(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			s := stack.Start(t, stack.Options{Postgres: kind, Profile: stack.Profile{Seed: true}})
			dsn, rest := s.DSN(), s.RESTURL()
			agents := request{path: "agents?select=name", key: s.ServiceKey()}
			require.Error(t, s.StartPostgres(t.Context()), "it is running")

			require.NoError(t, s.StopPostgres())
			require.NoError(t, s.StopPostgres(), "a second stop does nothing")
			down := agents.do(t, s)
			assert.Equal(t, http.StatusServiceUnavailable, down.status)
			assert.Contains(t, []string{"57P01", "PGRST000", "PGRST001"}, down.code)
			_, err := s.Conn(t.Context())
			require.Error(t, err)
			assert.NotContains(t, err.Error(), dsn)

			require.NoError(t, s.StartPostgres(t.Context()))
			require.NoError(t, s.WaitREST(t.Context()))
			assert.Equal(t, dsn, s.DSN())
			assert.Equal(t, rest, s.RESTURL())
			assert.JSONEq(t, `[{"name":"Ada"}]`, agents.do(t, s).body)
		})
	}
}

func TestAKilledPostgRESTComesBackOnItsPort(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	agents := request{path: "agents", key: s.ServiceKey()}
	require.Error(t, s.StartPostgREST(t.Context()), "it is running")
	s.KillPostgREST()
	s.KillPostgREST()
	assert.Equal(t, http.StatusBadGateway, agents.do(t, s).status)
	require.NoError(t, s.ReloadSchema(t.Context()), "there is nothing to tell")
	require.NoError(t, s.StartPostgREST(t.Context()))
	assert.Equal(t, http.StatusOK, agents.do(t, s).status)
}

func TestStacksDoNotShareAnything(t *testing.T) {
	first := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	second := stack.Start(t, stack.Options{})
	assert.NotEqual(t, first.DSN(), second.DSN())
	assert.Equal(t, 1, value[int](t, first, "select count(*) from public.agents"))
	assert.Zero(t, value[int](t, second, "select count(*) from public.agents"))
}

func TestUnknownChoicesAreRefused(t *testing.T) {
	require.ErrorContains(t, stack.Available("sqlite"), `no kind "sqlite"`)
	_, err := stack.Profile{Publication: "some"}.Files()
	require.ErrorContains(t, err, `"some"`)
	_, err = stack.Profile{Validate: "z"}.Files()
	require.ErrorContains(t, err, `"z"`)
}

func TestEveryFileBelongsToSomeProfile(t *testing.T) {
	used := map[string]bool{}
	for _, p := range []stack.Profile{
		{Strict: true, Relaxed: true, OpenVault: true, Rows: true, Canary: true},
		{Publication: stack.PublicationNone, BrokenEnd: true, Counters: true, Validate: stack.VariantA},
		{Publication: stack.PublicationMessages, Validate: stack.VariantD},
		{Validate: stack.VariantEBroken}, {Validate: stack.VariantMissing},
	} {
		files, err := p.Files()
		require.NoError(t, err)
		for _, name := range files {
			used[name] = true
		}
	}
	present, err := filepath.Glob("../../testdata/sql/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, present)
	for _, path := range present {
		assert.True(t, used[filepath.Base(path)], path)
		delete(used, filepath.Base(path))
	}
	assert.Empty(t, used)
}
