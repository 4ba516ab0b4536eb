package proxy_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/agentopia/realtime-proxy/"

// mayImport says which packages of the module each package may import. A package that is not named may import none.
var mayImport = map[string][]string{
	"cmd/realtime-proxy": {"config", "proxy", "proxy/chat", "supabase/phoenix", "supabase/rest", "supabase/standin"},
	"cmd/realtime-bench": {"supabase/standin"},
	"supabase/realtime":  {"supabase/phoenix"},
	"supabase/standin":   {"supabase/phoenix"},
	// Tests only.
	"supabase/standin/wal": {"supabase/standin", "supabase/phoenix"},
	"proxy/feed":           {"proxy/chat", "supabase/realtime", "supabase/rest"},
	"proxy/session":        {"proxy/chat", "supabase/rest"},
	"proxy/transport":      {"proxy/chat", "supabase/phoenix"},
	"proxy": {
		"proxy/admin", "proxy/chat", "proxy/feed", "proxy/session", "proxy/transport", "proxy/web",
		"supabase/functions", "supabase/phoenix", "supabase/realtime", "supabase/rest",
	},
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...").Output()
	require.NoError(t, err)
	packages := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		packages++
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if of, ours := strings.CutPrefix(imported, module); ours {
				assert.Contains(t, mayImport[name], of, "%s must not import it", name)
			}
		}
	}
	assert.Greater(t, packages, 10)
}
