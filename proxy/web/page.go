package web

import (
	"bytes"
	"html/template"
	"net/http"
	"path"
	"strings"
)

// The page loads scripts and styles from its own origin only, has none inline, and may not be framed. Its scripts write
// text nodes, never markup, which require-trusted-types-for makes the browser enforce.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// Files below prefix + "/assets/".
var pageAssets = []string{
	"client.js", "page/chat.css", "page/chat.js", "page/thread.js", "page/composer.js", "page/session.js", "page/icon.svg",
}

type page struct {
	prefix   string // "" or "/chat": no slash at the end
	document *asset
	assets   map[string]*asset // by name below assets/
}

// Page serves the chat page at prefix ("/chat", or "" or "/" for the root) and its files below prefix + "/assets/". The
// handler wants the request's whole path and answers 404 to all others. The page takes its credential from the
// fragment, #token=SESSION_TOKEN or #ticket=TICKET, which no browser sends to a server, and speaks to the endpoints
// beside it. All links are relative, so it also works behind a path that a reverse proxy strips.
func Page(prefix string) http.Handler {
	p := &page{prefix: strings.TrimSuffix(path.Clean("/"+prefix), "/"), assets: map[string]*asset{}}
	p.document = newAsset("chat.html", p.render())
	guard(p.document)
	for _, name := range pageAssets {
		a := embedded(name)
		guard(a)
		p.assets[a.name] = a
	}
	return p
}

// render fills in where the page finds its files and the endpoints, relative to its own address.
func (p *page) render() []byte {
	source, err := files.ReadFile("assets/page/chat.html")
	if err != nil {
		panic("web: " + err.Error())
	}
	assets := path.Base(p.prefix) + "/assets/"
	if p.prefix == "" {
		assets = "assets/"
	}
	base := "./" + strings.Repeat("../", max(0, strings.Count(p.prefix, "/")-1))
	var out bytes.Buffer
	t := template.Must(template.New("chat.html").Parse(string(source)))
	if err := t.Execute(&out, map[string]string{"Assets": assets, "Base": base}); err != nil {
		panic("web: " + err.Error())
	}
	return out.Bytes()
}

func guard(a *asset) {
	a.header.Set("Content-Security-Policy", pagePolicy)
	a.header.Set("Referrer-Policy", "no-referrer")
	a.header.Set("X-Frame-Options", "DENY")
	a.header.Set("Cross-Origin-Opener-Policy", "same-origin")
	a.header.Set("Cross-Origin-Resource-Policy", "same-origin")
	a.header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, p.prefix)
	name, below := strings.CutPrefix(rest, "/assets/")
	switch {
	case !ok:
	case p.prefix == "" && rest == "/", p.prefix != "" && rest == "":
		p.document.ServeHTTP(w, r)
		return
	case rest == "/":
		// Relative, for the reverse proxy's sake; without the query, which the page has no use for. Browsers keep the fragment.
		w.Header().Set("Location", "../"+path.Base(p.prefix))
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	case below && p.assets[name] != nil:
		p.assets[name].ServeHTTP(w, r)
		return
	}
	refuse(w, http.StatusNotFound, `{"error":"Not Found"}`)
}
