package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var files embed.FS

// Media types by extension; the machine's own table is not asked, so that every installation answers alike.
var mediaTypes = map[string]string{
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".svg":  "image/svg+xml",
}

// asset is one file with the headers it is served with.
type asset struct {
	name    string
	content []byte
	etag    string
	header  http.Header
}

// ClientJS serves the browser client, an ES module that any origin may import.
func ClientJS() http.Handler { return module("client.js") }

// ReactJS serves the React binding. It imports ./client.js, so both must be mounted side by side.
func ReactJS() http.Handler { return module("react.js") }

func module(name string) http.Handler {
	a := embedded(name)
	a.header.Set("Access-Control-Allow-Origin", "*")
	a.header.Set("Cross-Origin-Resource-Policy", "cross-origin")
	return a
}

// embedded returns the named file below assets/.
func embedded(name string) *asset {
	content, err := files.ReadFile("assets/" + name)
	if err != nil {
		// The name is a constant of this package: only a wrong build can come here.
		panic("web: " + err.Error())
	}
	return newAsset(path.Base(name), content)
}

func newAsset(name string, content []byte) *asset {
	sum := sha256.Sum256(content)
	header := http.Header{}
	header.Set("Content-Type", mediaTypes[path.Ext(name)])
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Content-Type-Options", "nosniff")
	return &asset{name: name, content: content, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, header: header}
}

// ServeHTTP answers GET and HEAD, conditional requests included.
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, `{"error":"Method not allowed"}`)
		return
	}
	for key, values := range a.header {
		w.Header()[key] = append([]string(nil), values...)
	}
	w.Header().Set("ETag", a.etag)
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.content))
}

func refuse(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET, HEAD")
	}
	w.WriteHeader(status)
	// The visitor's going away needs no answer.
	_, _ = w.Write([]byte(body))
}
