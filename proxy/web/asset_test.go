package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/web"
)

func serve(h http.Handler, method, path string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for key, values := range header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestModulesAreImportableFromAnyOrigin(t *testing.T) {
	for path, h := range map[string]http.Handler{"/client.js": web.ClientJS(), "/react.js": web.ReactJS()} {
		t.Run(path, func(t *testing.T) {
			w := serve(h, http.MethodGet, path, nil)
			require.Equal(t, http.StatusOK, w.Code)
			assert.Equal(t, "text/javascript; charset=utf-8", w.Header().Get("Content-Type"))
			assert.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
			assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
			assert.Equal(t, "cross-origin", w.Header().Get("Cross-Origin-Resource-Policy"))
			assert.Regexp(t, `^"[0-9a-f]{32}"$`, w.Header().Get("ETag"))
			assert.Contains(t, w.Body.String(), "export ")
		})
	}
}

func TestModuleAnswersNotModifiedToItsETag(t *testing.T) {
	etag := serve(web.ClientJS(), http.MethodGet, "/client.js", nil).Header().Get("ETag")
	other := serve(web.ReactJS(), http.MethodGet, "/react.js", nil).Header().Get("ETag")
	assert.NotEqual(t, etag, other, "each content has its own tag")

	w := serve(web.ClientJS(), http.MethodGet, "/client.js", http.Header{"If-None-Match": {etag}})
	assert.Equal(t, http.StatusNotModified, w.Code)
	assert.Empty(t, w.Body.Bytes())
	assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))

	w = serve(web.ClientJS(), http.MethodGet, "/client.js", http.Header{"If-None-Match": {other}})
	assert.Equal(t, http.StatusOK, w.Code)
}

func TestModuleAnswersHeadWithoutBodyAndRefusesOtherMethods(t *testing.T) {
	w := serve(web.ClientJS(), http.MethodHead, "/client.js", nil)
	assert.Equal(t, http.StatusOK, w.Code)
	assert.NotEmpty(t, w.Header().Get("Content-Length"))
	assert.Empty(t, w.Body.Bytes())

	w = serve(web.ClientJS(), http.MethodPost, "/client.js", nil)
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
	assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
}
