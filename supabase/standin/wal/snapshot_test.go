package wal

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSnapshotTellsWhichTransactionsAreVisible(t *testing.T) {
	for _, test := range []struct {
		snapshot string
		xid      uint32
		want     bool
	}{
		{"100:100:", 99, true},
		{"100:100:", 100, false},
		{"100:105:100,103", 103, false},
		{"100:105:100,103", 102, true},
		{"100:105:100,103", 105, false},
		{"4294967290:4294967300:4294967297", 1, false}, // 4294967297 is 1 in 32 bits
		{"4294967290:4294967300:4294967297", 2, true},
		{"4294967290:4294967300:4294967297", 4294967289, true},
		{"4294967300:4294967300:", 4294967295, true},
		{"4294967300:4294967300:", 5, false},
	} {
		got, err := visibleIn(test.snapshot, test.xid)
		require.NoError(t, err)
		assert.Equal(t, test.want, got, "%s %d", test.snapshot, test.xid)
	}
	for _, bad := range []string{"", "1:2", "a:2:", "1:b:", "1:2:3:4"} {
		_, err := visibleIn(bad, 1)
		require.Error(t, err, bad)
	}
}

func FuzzSnapshotNeverPanics(f *testing.F) {
	f.Add("100:105:100,103", uint32(103))
	f.Fuzz(func(t *testing.T, snapshot string, xid uint32) {
		visible, err := visibleIn(snapshot, xid)
		assert.False(t, visible && err != nil)
	})
}
