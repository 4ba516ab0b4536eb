package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func caddyCommand(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	caddy, err := exec.LookPath("caddy")
	if err != nil {
		skipOrFail(t, "caddy is not installed")
	}
	cmd := exec.Command(caddy, arguments...)
	cmd.Dir = t.TempDir()
	cmd.Env = environ("HOME="+cmd.Dir, "XDG_DATA_HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir)
	return cmd
}

func TestCaddyAcceptsTheRecipeOfTheReadme(t *testing.T) {
	cmd := caddyCommand(t, "validate", "--adapter", "caddyfile", "--config", "-")
	cmd.Stdin = strings.NewReader(recipe(t, "caddyfile", "reverse_proxy"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "Valid configuration")
}

// startCaddy runs the README's recipe before a proxy.
func startCaddy(t *testing.T, proxy string) *gateway {
	t.Helper()
	cmd := caddyCommand(t, "run", "--adapter", "caddyfile", "--config", "Caddyfile")
	g := &gateway{dir: cmd.Dir, roots: writeCertificate(t, cmd.Dir), base: "https://127.0.0.1:" + freePort(t)}
	text := recipe(t, "caddyfile", "reverse_proxy",
		"{\n\tlog {", "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tlog {",
		"chat-proxy.example.com {", g.base+" {\n\tbind 127.0.0.1\n\ttls "+g.dir+"/tls.pem "+g.dir+"/tls.key",
		"reverse_proxy 127.0.0.1:8080", "reverse_proxy "+proxy)
	require.NoError(t, os.WriteFile(filepath.Join(g.dir, "Caddyfile"), []byte(text), 0o600))
	ready := make(chan bool, 1)
	g.process = spawn(t, cmd, func(line string) {
		if strings.Contains(line, "serving initial configuration") {
			ready <- true
		}
	})
	await(t, ready)
	return g
}

func TestCaddyOfTheReadmeCarriesEveryTransportAtOnce(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, silent)
	g := startCaddy(t, at.Listen)
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) { checkCarries(t, up, g, protocol) })
	}
}

// Caddy has no time-out for streams; they are cut when it goes away.
func TestStreamsThatCaddyCutsResume(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, silent)
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := startCaddy(t, at.Listen)
			cut := func() { require.NoError(t, g.process.cmd.Process.Kill()) }
			checkResumesAfterCut(t, up, g, protocol, cut, func() *gateway { return startCaddy(t, at.Listen) })
		})
	}
}

func TestCaddyOfTheReadmePassesOnWhatPagesNeed(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, pageAllowed)
	g := startCaddy(t, at.Listen)
	t.Run("Realtime", func(t *testing.T) { checkRealtime(t, up, g) })
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) { checkAnswersPages(t, g, protocol) })
	}
}

func TestCaddyTellsTheAddressAndTheHost(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, trusting(t), "PROXY_CHAT_PAGE=true", "PROXY_LIMITS_CONNECTIONS_PER_ADDRESS=2")
	g := startCaddy(t, at.Listen)
	checkOrigins(t, g)
	checkAddresses(t, g, "http://"+at.Listen)
}

func TestCaddyOfTheReadmeLogsNoToken(t *testing.T) {
	up := spawnStandin(t)
	process, at := spawnProxy(t, up)
	g := startCaddy(t, at.Listen)
	checkKeepsTokensOut(t, g, process, g.process.output)
}
