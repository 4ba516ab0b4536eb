package main_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const mebibyte = 1 << 20

// The command is asked and not a function: a process that has run other tests may get memory for the reserve that it has used before, and the
// race detector keeps books on it.
func TestTheReserveMakesRoomForGarbageAndTakesNone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("resident memory is not among the metrics on every system")
	}
	up := spawnStandin(t)
	const nextGC, resident = "go_memstats_next_gc_bytes", "process_resident_memory_bytes"
	for _, tt := range []struct {
		name, gogc, limit string
		reserved          bool
	}{
		{"as a rule", "", "", true},
		{"GOGC is set", "100", "", false},
		{"GOMEMLIMIT is set", "", "1GiB", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, at := spawnProxy(t, up, "GOGC="+tt.gogc, "GOMEMLIMIT="+tt.limit)
			m, err := metricsOf(t.Context(), at.Admin, nextGC, resident)
			require.NoError(t, err)
			if tt.reserved {
				assert.GreaterOrEqual(t, m[nextGC], 128.0*mebibyte, "garbage is collected late")
			} else {
				assert.Less(t, m[nextGC], 64.0*mebibyte, "as the operator says")
			}
			assert.Less(t, m[resident], 64.0*mebibyte, "and the reserve is not resident")
		})
	}
}
