package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const visiblePause = 500 * time.Microsecond

// awaitVisible waits until new snapshots see the transaction. A commit is in the WAL a moment before others see its rows, and the
// database has no event for that, so it is asked again and again.
func awaitVisible(ctx context.Context, pool *pgxpool.Pool, xid uint32) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	for {
		var snapshot string
		if err := pool.QueryRow(ctx, "select pg_catalog.pg_current_snapshot()::text").Scan(&snapshot); err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		visible, err := visibleIn(snapshot, xid)
		if err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		if visible {
			return nil
		}
		if !sleep(ctx, visiblePause) {
			return fmt.Errorf("wait for a commit to become visible: %w", ctx.Err())
		}
	}
}

// visibleIn reports whether a committed transaction is seen in a pg_snapshot, written xmin:xmax:in-progress,... with 64-bit ids.
// xid is the lower half of an id.
func visibleIn(snapshot string, xid uint32) (bool, error) {
	parts := strings.Split(snapshot, ":")
	if len(parts) != 3 {
		return false, errors.New("not a snapshot")
	}
	first, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return false, errors.New("not a snapshot")
	}
	end, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return false, errors.New("not a snapshot")
	}
	behind := int32(xid - uint32(end)) // ids in use are less than 2^31 apart
	switch {
	case behind >= 0:
		return false, nil
	case int32(xid-uint32(first)) < 0:
		return true, nil
	}
	id := strconv.FormatUint(end+uint64(int64(behind)), 10)
	return !slices.Contains(strings.Split(parts[2], ","), id), nil
}
