package main

import (
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heapGoal is the size of the heap at which the next collection ends.
func heapGoal() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func resident(t *testing.T) int {
	t.Helper()
	self, err := procfs.Self()
	if err != nil {
		t.Skip("the resident memory cannot be read here:", err)
	}
	stat, err := self.Stat()
	require.NoError(t, err)
	return stat.ResidentMemory()
}

func TestTheReserveMakesRoomForGarbageAndTakesNone(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	goal, before := heapGoal(), resident(t)
	reserve := newReserve()
	assert.GreaterOrEqual(t, heapGoal(), goal+3*reserveBytes/2, "a collection comes later")
	assert.Less(t, resident(t), before+reserveBytes/4, "and the reserve is not resident")
	runtime.KeepAlive(reserve)
}

func TestTheReserveLeavesTheOperatorsSettingAlone(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			t.Setenv(name, "100")
			assert.Nil(t, newReserve())
		})
	}
}
