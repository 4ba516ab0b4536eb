package transport

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// maxMetadataBytes bounds the names and values that are kept of a visitor's metadata.
	maxMetadataBytes = 2 << 10
	// maxReplyDepth is how deep the text of an agent's reply may lie in the objects around it.
	maxReplyDepth = 3
	codeTooLong   = "message_too_long"
)

var (
	clientMessageIDForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)
	// metadataKeys are what a visitor may say about a message. It is stored with the row, so nothing that the row's own marks or
	// the owner's page read may come in here, and nothing that holds a token, as a page's address does.
	metadataKeys = []string{"locale", "timezone"}
	newlines     = strings.NewReplacer("\r\n", "\n", "\r", "\n")
)

// checkText returns a visitor's text as it is sent on. most counts UTF-16 code units before the ends are trimmed, as the function does.
func checkText(text string, most int) (string, *chat.Refusal) {
	switch {
	case !utf8.ValidString(text):
		return "", refuseRequest(http.StatusBadRequest, "bad_text", "Message is not valid text")
	case utf16Units(text) > most:
		return "", refuseRequest(http.StatusBadRequest, codeTooLong,
			fmt.Sprintf("Message too long (maximum %d characters)", most))
	}
	text = newlines.Replace(text)
	if strings.ContainsFunc(text, isForbidden) {
		return "", refuseRequest(http.StatusBadRequest, "bad_text", "Message contains control characters")
	}
	text = strings.TrimFunc(text, isBlank)
	if text == "" {
		return "", refuseRequest(http.StatusBadRequest, "blank_message", "Message must not be blank")
	}
	return text, nil
}

func utf16Units(text string) (n int) {
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

func isForbidden(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

// isBlank is what JavaScript trims.
func isBlank(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' }

// checkMetadata keeps what a visitor may say about a message, and finds the client message id where there is no other.
func checkMetadata(raw json.RawMessage, clientMessageID string) (kept map[string]string, id string, ref *chat.Refusal) {
	var given fields
	if len(raw) > 0 && json.Unmarshal(raw, &given) != nil {
		return nil, "", refuseRequest(http.StatusBadRequest, "bad_metadata", "metadata must be an object")
	}
	kept = make(map[string]string)
	size := 0
	for _, key := range metadataKeys {
		value, ok := given.text(key)
		if !ok || value == "" || strings.ContainsFunc(value, isForbidden) {
			continue
		}
		kept[key] = value
		size += len(key) + len(value)
	}
	if size > maxMetadataBytes {
		return nil, "", refuseRequest(http.StatusBadRequest, "bad_metadata", "metadata is too large")
	}
	if id = clientMessageID; id == "" {
		var ok bool
		if id, ok = given.text("client_message_id"); !ok {
			return nil, "", refuseClientMessageID()
		}
	}
	if id != "" && !clientMessageIDForm.MatchString(id) {
		return nil, "", refuseClientMessageID()
	}
	return kept, id, nil
}

func refuseClientMessageID() *chat.Refusal {
	return refuseRequest(http.StatusBadRequest, "bad_client_message_id",
		"clientMessageId must be 1 to 64 letters, digits, dots, colons, dashes or underscores")
}

// replyText finds the text of an agent's reply, which is a string or one of several forms of a whole message. Nothing but text
// comes out: such a message carries the agent's private workings.
func replyText(raw json.RawMessage) string { return textWithin(raw, maxReplyDepth) }

func textWithin(raw json.RawMessage, depth int) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object fields
	if depth == 0 || json.Unmarshal(raw, &object) != nil {
		return ""
	}
	for _, key := range []string{"content", "text"} {
		if text := textWithin(object[key], depth-1); strings.TrimSpace(text) != "" {
			return text
		}
	}
	return partsText(object["parts"])
}

func partsText(raw json.RawMessage) string {
	var parts []fields
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	var texts []string
	for _, part := range parts {
		kind, _ := part.text("type")
		content, _ := part.text("content")
		text, _ := part.text("text")
		if text = cmp.Or(content, text); kind == "text" && text != "" {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "\n")
}
