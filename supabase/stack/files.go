package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// symlinkList names the links between libraries, which npm packages cannot hold: [{"source", "target"}].
const symlinkList = "pg-symlinks.json"

// copyPrograms copies what the account may not reach below dir and returns where it lies then.
func (a account) copyPrograms(p programs, dir string) (programs, error) {
	copied := programs{bin: p.bin, postgrest: filepath.Join(dir, "postgrest")}
	if err := a.copyFile(p.postgrest, copied.postgrest); err != nil {
		return programs{}, fmt.Errorf("copy PostgREST: %w", err)
	}
	if p.native == "" {
		return copied, nil
	}
	copied.native = filepath.Join(dir, "native")
	copied.bin = filepath.Join(copied.native, "bin")
	wanted := func(path string) bool { return !strings.HasSuffix(path, ".a") } // not needed to run
	if err := a.copyTree(p.native, copied.native, wanted); err != nil {
		return programs{}, fmt.Errorf("copy PostgreSQL: %w", err)
	}
	if err := linkLibraries(copied.native); err != nil {
		return programs{}, fmt.Errorf("link the libraries of PostgreSQL: %w", err)
	}
	return copied, nil
}

// linkLibraries makes the links that the package's install script would make.
func linkLibraries(native string) error {
	list, err := os.ReadFile(filepath.Join(native, symlinkList))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string } // relative to the folder around native
	if err := json.Unmarshal(list, &links); err != nil {
		return fmt.Errorf("%s: %w", symlinkList, err)
	}
	base := filepath.Dir(native)
	for _, link := range links {
		if !filepath.IsLocal(link.Source) || !filepath.IsLocal(link.Target) {
			return fmt.Errorf("%s leads out of the package", symlinkList)
		}
		target := filepath.Join(base, link.Target)
		source, err := filepath.Rel(filepath.Dir(target), filepath.Join(base, link.Source))
		if err != nil {
			return err
		}
		if err := os.Symlink(source, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// copyTree copies folders and files, not links, and gives them to the account.
func (a account) copyTree(from, to string, wanted func(path string) bool) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir():
			return a.makeDir(target)
		case entry.Type().IsRegular() && wanted(path):
			return a.copyFile(path, target)
		}
		return nil
	})
}

// copyFile keeps the bits that allow execution.
func (a account) copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close() // read only
	attributes, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600|attributes.Mode().Perm()&0o100)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if _, err := io.Copy(target, source); err != nil {
		return err
	}
	return a.own(to)
}

// makeDir makes a folder that only the account may enter, as PostgreSQL demands.
func (a account) makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return a.own(dir)
}

func (a account) own(path string) error {
	if !a.foreign {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}
