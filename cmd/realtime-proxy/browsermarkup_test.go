package main_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Markup that ran, or was only blocked, would change the text, load something, or make the console complain.
func TestChatPageShowsMarkupAsText(t *testing.T) {
	const markup = `<img src="/nothing.png" onerror="document.body.remove()"><svg onload="document.body.remove()"><style>*{display:none}</style><b>&amp;</b> {{7*7}}`
	c := openChat(t)
	c.say(phone, markup)
	all := c.history(3)
	assert.Equal(t, []string{markup}, said(all))
	for _, tab := range tabs {
		c.shows(tab, all)
	}
	c.do(step{Do: "reload", Tab: desk}, nil)
	c.shows(desk, all)
	assert.Empty(t, c.complaints())
}
