package standin_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// placeholders replaces what differs from run to run by numbers given at first sight.
type placeholders struct{ seen map[string]string }

func newPlaceholders() *placeholders { return &placeholders{seen: map[string]string{}} }

var (
	randomText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}` +
		`|"phx_ref(_prev)?":"[^"]+"|"id":\d{5,9}|"seq": \d+|\b\d{6,9}\b([,\]])` +
		`|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|expired \d+ seconds`)
	constants = []string{a, b, c, "11111111-1111-1111-1111-111111111111", "99999999-9999-4999-8999-999999999999",
		"2026-01-02T01:04:05.123456+00:00"}
)

func (p *placeholders) mask(text string) string {
	return randomText.ReplaceAllStringFunc(text, func(found string) string {
		switch {
		case slices.Contains(constants, found):
			return found
		case strings.HasSuffix(found, "Z"):
			return "<commit>"
		case strings.HasSuffix(found, "+00:00"):
			return "<time>"
		case strings.HasPrefix(found, "expired"):
			return "<expired>"
		case strings.HasPrefix(found, `"seq"`):
			return `"seq": <seq>`
		}
		prefix, number := "", found
		if at := strings.LastIndexByte(found, ':'); at >= 0 {
			prefix, number = found[:at+1], strings.Trim(found[at+1:], `" `)
		}
		suffix := ""
		if trimmed := strings.TrimRight(number, ",]"); trimmed != number {
			number, suffix = trimmed, number[len(trimmed):]
		}
		if p.seen[number] == "" {
			p.seen[number] = fmt.Sprint("<", len(p.seen), ">")
		}
		return prefix + p.seen[number] + suffix
	})
}
