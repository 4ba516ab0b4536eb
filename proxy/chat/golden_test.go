package chat_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

var dialectNames = map[chat.Dialect]string{
	chat.DialectMessage: "message", chat.DialectEnvelope: "envelope", chat.DialectWebSocket: "websocket", chat.DialectPoll: "poll",
}

// assertGolden compares with a file of testdata.
func assertGolden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}
