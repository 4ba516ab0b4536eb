package wal_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
	"github.com/agentopia/realtime-proxy/supabase/standin/wal"
)

func TestJoinedChannelsHearOnlyOfLaterRowsWhenPostgreSQLRestarts(t *testing.T) {
	st := stack.Start(t, stack.Options{})
	d := newDatabase(t, st, "restarted")
	d.exec("create table a (id int primary key); grant select on a to service_role")
	server, source, base := d.realtime()
	before := joinTable(t, base, server.ServiceKey(), "a")
	d.exec("insert into a values (1)")
	assert.JSONEq(t, "1", string(before.change().Data.Record["id"]))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d.Close()
	require.NoError(t, st.StopPostgres())
	require.NoError(t, source.WaitLost(ctx))
	require.ErrorIs(t, published(ctx, source), wal.ErrNotStreaming)
	started := make(chan error, 1)
	go func() { started <- st.StartPostgres(ctx) }()
	during := joinTable(t, base, server.ServiceKey(), "a") // waits for the database
	require.NoError(t, <-started)

	require.NoError(t, source.WaitStreaming(ctx))
	var err error
	d.Store, err = wal.OpenStore(ctx, d.dsn)
	require.NoError(t, err)
	defer d.Close()
	d.exec("insert into a values (2)")
	for _, c := range []*channel{before, during} {
		assert.JSONEq(t, "2", string(c.change().Data.Record["id"]))
	}
}

func published(ctx context.Context, source *wal.Source) error {
	var _ standin.ChangeSource = source
	_, err := source.Published(ctx, "service_role")
	return err
}

func TestSourceThatNeverConnectedEndsWithItsContext(t *testing.T) {
	source, err := wal.New(wal.Options{DSN: "postgres://127.0.0.1:1/db?connect_timeout=1"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- source.Run(ctx, func(context.Context, []standin.Change) error { return nil }) }()
	cancel()
	require.NoError(t, next(t, ended))
}
