package wal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	statusEvery  = 5 * time.Second // standby status; asks for an answer, so that a dead connection is noticed
	maxSilence   = 3               // status intervals without a message before the connection counts as dead
	writeTimeout = 5 * time.Second
	closeTimeout = 2 * time.Second
)

// stream is one replication connection from dial to its end.
func (s *Source) stream(ctx context.Context, pool *pgxpool.Pool, sink Sink) error {
	conn, err := pgconn.ConnectConfig(ctx, s.replication)
	if err != nil {
		return fmt.Errorf("connect for replication: %w", err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = conn.Close(end) // the stream has ended; the temporary slot goes with the connection
	}()
	start, err := s.openSlot(ctx, conn)
	if err != nil {
		return err
	}
	s.setStreaming(true)
	s.log.Info("replication started", "lsn", start.String())
	r := &receiver{conn: conn, decoder: newDecoder(pool, s.log), sink: sink, position: start}
	return r.run(ctx)
}

// openSlot creates a temporary slot and starts streaming from it.
func (s *Source) openSlot(ctx context.Context, conn *pgconn.PgConn) (pglogrepl.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	suffix := make([]byte, 6)
	_, _ = rand.Read(suffix) // never fails
	name := fmt.Sprintf("standin_%x", suffix)
	slot, err := pglogrepl.CreateReplicationSlot(ctx, conn, name, "pgoutput",
		pglogrepl.CreateReplicationSlotOptions{Temporary: true, SnapshotAction: "NOEXPORT_SNAPSHOT"})
	if err != nil {
		return 0, fmt.Errorf("create replication slot: %w", err)
	}
	start, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		return 0, fmt.Errorf("read consistent point: %w", err)
	}
	err = pglogrepl.StartReplication(ctx, conn, name, start, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names " + quoteLiteral(quoteIdentifier(s.publication))},
	})
	if err != nil {
		return 0, fmt.Errorf("start replication: %w", err)
	}
	return start, nil
}

// receiver reads one replication stream. Owned by one goroutine.
type receiver struct {
	conn     *pgconn.PgConn
	decoder  *decoder
	sink     Sink
	position pglogrepl.LSN // everything before it has been handed over
}

func (r *receiver) run(ctx context.Context) error {
	due := time.Now().Add(statusEvery)
	for silent := 0; ; {
		message, err := r.receive(ctx, due)
		switch {
		case err == nil:
			silent = 0
		case ctx.Err() != nil:
			return ctx.Err()
		case pgconn.Timeout(err):
			if silent++; silent > maxSilence {
				return errors.New("replication stream is silent")
			}
		default:
			return fmt.Errorf("read replication stream: %w", err)
		}
		answer, err := r.take(ctx, message)
		if err != nil {
			return err
		}
		if now := time.Now(); answer || !now.Before(due) {
			if err := r.status(now); err != nil {
				return err
			}
			due = now.Add(statusEvery)
		}
	}
}

func (r *receiver) receive(ctx context.Context, due time.Time) (pgproto3.BackendMessage, error) {
	ctx, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	return r.conn.ReceiveMessage(ctx)
}

// take acts on one message, nil included, and reports whether the server wants a status.
func (r *receiver) take(ctx context.Context, message pgproto3.BackendMessage) (answer bool, err error) {
	switch message := message.(type) {
	case *pgproto3.ErrorResponse:
		return false, fmt.Errorf("replication stream ended: %w", pgconn.ErrorResponseToPgError(message))
	case *pgproto3.CopyDone:
		return false, errors.New("replication stream ended by the server")
	case *pgproto3.CopyData:
		if len(message.Data) == 0 {
			return false, nil
		}
		switch body := message.Data[1:]; message.Data[0] {
		case pglogrepl.PrimaryKeepaliveMessageByteID:
			keepalive, err := pglogrepl.ParsePrimaryKeepaliveMessage(body)
			if err != nil {
				return false, fmt.Errorf("decode keepalive: %w", err)
			}
			if !r.decoder.open() {
				r.position = max(r.position, keepalive.ServerWALEnd)
			}
			return keepalive.ReplyRequested, nil
		case pglogrepl.XLogDataByteID:
			return false, r.data(ctx, body)
		}
	}
	return false, nil
}

func (r *receiver) data(ctx context.Context, body []byte) error {
	data, err := pglogrepl.ParseXLogData(body)
	if err != nil {
		return fmt.Errorf("decode WAL message: %w", err)
	}
	changes, err := r.decoder.take(ctx, data.WALData)
	if err != nil {
		return err
	}
	if len(changes) > 0 {
		if err := r.sink(ctx, changes); err != nil {
			return fmt.Errorf("hand over a transaction: %w", err)
		}
	}
	if !r.decoder.open() {
		r.position = max(r.position, r.decoder.end)
	}
	return nil
}

func (r *receiver) status(now time.Time) error {
	if err := r.conn.Conn().SetWriteDeadline(now.Add(writeTimeout)); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	err := pglogrepl.SendStandbyStatusUpdate(context.Background(), r.conn,
		pglogrepl.StandbyStatusUpdate{WALWritePosition: r.position, ClientTime: now, ReplyRequested: true})
	if err != nil {
		return fmt.Errorf("send standby status: %w", err)
	}
	return nil
}
