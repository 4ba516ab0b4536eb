package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/web"
)

// mounts are the prefixes that Page may be given, with the address of the document and of the endpoints' base.
var mounts = []struct{ prefix, document, base string }{
	{"/chat", "/chat", "/"},
	{"/chat/", "/chat", "/"},
	{"chat", "/chat", "/"},
	{"", "/", "/"},
	{"/", "/", "/"},
	{"/tools/chat", "/tools/chat", "/"},
}

// TestPageForbidsAllThatItDoesNotNeed looks at the assets too: opened by itself, an SVG or a script is a document.
func TestPageForbidsAllThatItDoesNotNeed(t *testing.T) {
	page := web.Page("/chat")
	for path := range load(t, page, "/chat") {
		t.Run(path, func(t *testing.T) { forbidsAllElse(t, serve(page, http.MethodGet, path, nil)) })
	}
	assert.Equal(t, "text/html; charset=utf-8", serve(page, http.MethodGet, "/chat", nil).Header().Get("Content-Type"))
}

func TestRefusalsOfAPageAreNotSniffed(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/chat/assets/nothing.js", 404},
		{"GET", "/elsewhere", 404},
		{"POST", "/chat", 405},
		{"POST", "/chat/assets/chat.js", 405},
	} {
		w := serve(web.Page("/chat"), tt.method, tt.path, nil)
		assert.Equal(t, tt.status, w.Code, tt.path)
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"), tt.path)
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), tt.path)
	}
	w := serve(web.ClientJS(), "POST", "/client.js", nil)
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
}

func forbidsAllElse(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	assert.Equal(t, "DENY", w.Header().Get("X-Frame-Options"))
	assert.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
	assert.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))

	policy := map[string]string{}
	for _, directive := range strings.Split(w.Header().Get("Content-Security-Policy"), "; ") {
		name, value, _ := strings.Cut(directive, " ")
		policy[name] = value
	}
	assert.Equal(t, map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
		"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'",
	}, policy)
}

func TestPageHasNothingInline(t *testing.T) {
	html := serve(web.Page("/chat"), http.MethodGet, "/chat", nil).Body.String()
	assert.NotRegexp(t, `(?i)<style|\sstyle=|\son[a-z]+=|javascript:`, html)
	for _, script := range regexp.MustCompile(`(?s)<script([^>]*)>(.*?)</script>`).FindAllStringSubmatch(html, -1) {
		assert.Contains(t, script[1], "src=")
		assert.Empty(t, script[2])
	}
	assert.NotContains(t, html, "{{", "the template is filled in")
}

func TestPageAssetsWriteNoMarkup(t *testing.T) {
	page := web.Page("/chat")
	for name, content := range load(t, page, "/chat") {
		if strings.HasSuffix(name, ".js") {
			assert.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function`, content, name)
		}
	}
}

// TestPageFindsAllThatItReferences follows every reference, as a browser would resolve it, from each mount.
func TestPageFindsAllThatItReferences(t *testing.T) {
	for _, mount := range mounts {
		t.Run("prefix "+mount.prefix, func(t *testing.T) {
			page := web.Page(mount.prefix)
			loaded := load(t, page, mount.document)
			for _, name := range []string{"chat.css", "chat.js", "thread.js", "composer.js", "session.js", "client.js", "icon.svg"} {
				assert.Contains(t, loaded, strings.TrimSuffix(mount.document, "/")+"/assets/"+name)
			}
			base := regexp.MustCompile(`name="proxy-base" content="([^"]*)"`).FindStringSubmatch(loaded[mount.document])
			require.NotNil(t, base)
			assert.Equal(t, mount.base, resolve(t, mount.document, base[1]))
			assert.Equal(t, "/edge"+mount.base, resolve(t, "/edge"+mount.document, base[1]), "behind a stripped path")
		})
	}
}

var (
	markupReference = regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	importReference = regexp.MustCompile(`(?m)^(?:import|export) .* from '([^']+)';$`)
	styleReference  = regexp.MustCompile(`url\(([^)]+)\)|@import`)
)

// load gets the document and all it references, by path.
func load(t *testing.T, h http.Handler, document string) map[string]string {
	t.Helper()
	loaded := map[string]string{}
	for queue := []string{document}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if _, done := loaded[at]; done {
			continue
		}
		w := serve(h, http.MethodGet, at, nil)
		require.Equal(t, http.StatusOK, w.Code, at)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), at)
		loaded[at] = w.Body.String()
		pattern := styleReference
		switch {
		case at == document:
			pattern = markupReference
		case strings.HasSuffix(at, ".js"):
			pattern = importReference
		}
		for _, match := range pattern.FindAllStringSubmatch(loaded[at], -1) {
			queue = append(queue, resolve(t, at, match[1]))
		}
	}
	return loaded
}

func resolve(t *testing.T, base, reference string) string {
	t.Helper()
	from, err := url.Parse("http://localhost" + base)
	require.NoError(t, err)
	to, err := from.Parse(reference)
	require.NoError(t, err)
	assert.Equal(t, "localhost", to.Host, "nothing comes from elsewhere")
	return to.Path
}

func TestPageKnowsNoOtherPath(t *testing.T) {
	page := web.Page("/chat")
	for _, path := range []string{"/", "/chatter", "/chat/assets/", "/chat/assets/react.js", "/chat/assets/page/chat.js", "/chat/x", "/assets/chat.js"} {
		w := serve(page, http.MethodGet, path, nil)
		assert.Equal(t, http.StatusNotFound, w.Code, path)
		assert.JSONEq(t, `{"error":"Not Found"}`, w.Body.String())
	}
	assert.Equal(t, http.StatusMethodNotAllowed, serve(page, http.MethodPost, "/chat", nil).Code)
}

func TestPageLeadsTheTrailingSlashBack(t *testing.T) {
	w := serve(web.Page("/chat"), http.MethodGet, "/chat/?token=secret", nil)
	require.Equal(t, http.StatusPermanentRedirect, w.Code)
	assert.Equal(t, "/chat", resolve(t, "/chat/", w.Header().Get("Location")))
	assert.NotContains(t, w.Header().Get("Location"), "secret")
}

func TestPageAnswersNotModifiedToItsETag(t *testing.T) {
	page := web.Page("/chat")
	for _, path := range []string{"/chat", "/chat/assets/chat.js"} {
		etag := serve(page, http.MethodGet, path, nil).Header().Get("ETag")
		require.NotEmpty(t, etag)
		w := serve(page, http.MethodGet, path, http.Header{"If-None-Match": {etag}})
		assert.Equal(t, http.StatusNotModified, w.Code, path)
	}
}
