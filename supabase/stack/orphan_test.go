package stack_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
)

// olderThanSweepAge is an age at which the directory of a dead test binary is removed.
const olderThanSweepAge = 10 * time.Minute

// orphanRole is the environment variable that makes TestInAnotherBinary do something.
const orphanRole = "STACK_TEST_ROLE"

// TestInAnotherBinary is the body of the test binaries that TestNothingSurvivesAKilledTestBinary runs.
func TestInAnotherBinary(t *testing.T) {
	role := os.Getenv(orphanRole)
	if role == "" {
		return // this is not the other binary
	}
	s := stack.Start(t, stack.Options{})
	for _, pid := range children(t, s) {
		os.Stdout.WriteString("child " + strconv.Itoa(pid) + "\n")
	}
	os.Stdout.WriteString("up\n")
	if role == "killed" {
		select {} // until killed
	}
}

// otherBinary runs this test binary again in a temporary directory of its own.
func otherBinary(t *testing.T, role, temporary string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), program, "-test.run=^TestInAnotherBinary$", "-test.timeout=2m")
	command.Env = append(os.Environ(), orphanRole+"="+role, "TMPDIR="+temporary)
	command.Stderr = os.Stderr
	return command
}

func TestNothingSurvivesAKilledTestBinary(t *testing.T) {
	if err := stack.Available(stack.Embedded); err != nil && os.Getenv("REQUIRE_ALL") != "1" {
		t.Skip(err)
	}
	temporary, err := os.MkdirTemp("", "stack-orphans-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(temporary)) })
	require.NoError(t, os.Chmod(temporary, 0o711)) // the servers' user has to pass

	killed := otherBinary(t, "killed", temporary)
	output, err := killed.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, killed.Start())
	var pids []int
	for lines := bufio.NewScanner(output); lines.Scan() && lines.Text() != "up"; {
		if text, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			pid, err := strconv.Atoi(text)
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	require.NoError(t, killed.Process.Kill())
	require.Error(t, killed.Wait())
	require.Greater(t, len(pids), 4)
	for _, pid := range pids {
		require.Eventually(t, func() bool { return !alive(pid) }, patience, 5*time.Millisecond, "pid %d is left", pid)
	}

	left, err := filepath.Glob(filepath.Join(temporary, stack.DirectoryPattern))
	require.NoError(t, err)
	require.Len(t, left, 1, "nobody was there to remove it")
	old := time.Now().Add(-olderThanSweepAge)
	require.NoError(t, os.Chtimes(left[0], old, old))
	require.NoError(t, otherBinary(t, "ordinary", temporary).Run())
	rest, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, rest, "the next one removes it, and its own")
}
