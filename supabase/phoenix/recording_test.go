package phoenix_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// line is one line of a recording of a real server; the README of the recordings explains the keys.
type line struct {
	Dir      string `json:"dir"`
	Conn     string `json:"conn"`
	HTTP     string `json:"http"`
	Frame    string `json:"frame"`
	FrameB64 []byte `json:"frame_b64"`
	FrameLen int    `json:"frame_len"`

	number int
}

func (l line) binary() bool { return len(l.FrameB64) > 0 }

func (l line) bytes() []byte {
	if l.binary() {
		return l.FrameB64
	}
	return []byte(l.Frame)
}

// recordings calls f with the whole frames of every recording; handshakes, notes and control frames are left out, and frames
// that the recorder cut (frame_len) are counted in cut.
func recordings(t *testing.T, f func(t *testing.T, file string, v phoenix.Version, l line)) (cut int) {
	t.Helper()
	files, err := filepath.Glob("../../testdata/realtime/*.jsonl")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		file := strings.TrimSuffix(filepath.Base(name), ".jsonl")
		t.Run(file, func(t *testing.T) {
			cut += recording(t, name, func(v phoenix.Version, l line) { f(t, file, v, l) })
		})
	}
	return cut
}

func recording(t *testing.T, name string, f func(v phoenix.Version, l line)) (cut int) {
	t.Helper()
	in, err := os.Open(name)
	require.NoError(t, err)
	defer in.Close()
	versions := map[string]phoenix.Version{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 8<<20)
	for n := 1; lines.Scan(); n++ {
		l := line{number: n}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &l))
		switch {
		case l.HTTP != "":
			if strings.HasPrefix(l.HTTP, "GET") {
				versions[l.Conn] = negotiated(l.HTTP)
			}
		case l.FrameLen > 0:
			cut++
		case len(l.bytes()) > 0:
			v, ok := versions[l.Conn]
			if !ok { // some recordings begin after the handshake
				v = shape(l.bytes())
			}
			f(v, l)
		}
	}
	require.NoError(t, lines.Err())
	return cut
}

func negotiated(request string) phoenix.Version {
	if strings.Contains(request, "vsn=2.0.0") {
		return phoenix.V2
	}
	return phoenix.V1
}

func shape(frame []byte) phoenix.Version {
	if frame[0] == '{' {
		return phoenix.V1
	}
	return phoenix.V2
}

// TestRecordedServerFramesSurviveARoundTrip covers the frames in the other version's shape too: they are encoded again in
// the shape they came in.
func TestRecordedServerFramesSurviveARoundTrip(t *testing.T) {
	seen, wrongShape := map[string]int{}, 0
	cut := recordings(t, func(t *testing.T, file string, v phoenix.Version, l line) {
		if l.Dir != "in" {
			return
		}
		frame := l.bytes()
		m, err := phoenix.DecodeServer(l.binary(), frame)
		require.NoErrorf(t, err, "line %d", l.number)
		got, binary, err := phoenix.EncodeServer(shape(frame), nil, m)
		require.NoErrorf(t, err, "line %d", l.number)
		assert.Equalf(t, string(frame), string(got), "line %d", l.number)
		assert.Equal(t, l.binary(), binary)
		if shape(frame) != v {
			wrongShape++
		}
		if l.binary() {
			seen["binary"]++
		}
		seen[m.Event]++
	})
	assert.Equal(t, 8, cut, "frames cut by the recorder")
	assert.Positive(t, wrongShape, "recordings 18 and 22 hold frames in the other version's shape")
	assert.Equal(t, 9, seen["binary"])
	for _, event := range []string{
		phoenix.EventReply, phoenix.EventSystem, phoenix.EventPostgresChanges, phoenix.EventBroadcast,
		phoenix.EventPresenceState, phoenix.EventPresenceDiff, phoenix.EventClose,
	} {
		assert.Positive(t, seen[event], event)
	}
}

func TestRecordedClientFramesSurviveARoundTrip(t *testing.T) {
	refused := map[string]int{}
	recordings(t, func(t *testing.T, file string, v phoenix.Version, l line) {
		if l.Dir != "out" {
			return
		}
		m, err := phoenix.DecodeClient(v, l.binary(), l.bytes())
		if (strings.HasPrefix(file, "07-") || file == "11-connect-auth-v2") && err != nil {
			assert.ErrorIs(t, err, phoenix.ErrMalformed)
			refused[file]++
			return
		}
		require.NoErrorf(t, err, "line %d", l.number)
		got, binary, err := phoenix.EncodeClient(v, nil, m)
		require.NoErrorf(t, err, "line %d", l.number)
		assert.Equalf(t, string(l.bytes()), string(got), "line %d", l.number)
		assert.Equal(t, l.binary(), binary)
	})
	// Not JSON, no object, no array, missing keys, the other version's shape, a binary frame that is too short: the frames
	// of 07 that the server left without an answer. 11 sends one array on a socket without a vsn parameter, unanswered too.
	assert.Equal(t, map[string]int{"07-malformed-frames-v1": 8, "07-malformed-frames-v2": 11, "11-connect-auth-v2": 1}, refused)
}
