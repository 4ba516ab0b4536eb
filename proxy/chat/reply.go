package chat

import "strings"

// Mark returns the visitor's place in the sequence of their class, for ReplyAfter; 0 when nobody watches.
func (h *Hub) Mark(v *Visitor) uint64 {
	seq := uint64(0)
	h.withClass(v, func(cl *class) { seq = cl.seq })
	return seq
}

// ReplyAfter finds the assistant's message with the given text that came after a mark.
func (h *Hub) ReplyAfter(v *Visitor, mark uint64, text string) (id string, ok bool) {
	text = strings.TrimSpace(text)
	h.withClass(v, func(cl *class) {
		for i := range cl.window.n {
			e := cl.window.at(i)
			if e.Seq > mark && e.Kind == KindMessage && e.Message.Role == "assistant" &&
				strings.TrimSpace(e.Message.Content) == text {
				id, ok = e.Message.ID, true
			}
		}
	})
	return id, ok
}

// PublishUnstored gives an agent's reply that exists in no row to the streams of one session. It is in no window, has no cursor and
// cannot be resumed.
func (h *Hub) PublishUnstored(v *Visitor, id, text string) {
	h.withClass(v, func(cl *class) {
		now := h.opts.Now()
		m := Message{ID: id, Role: "assistant", Content: text, Timestamp: now, ConversationID: v.ConversationID, Unstored: true}
		if v.AgentID != "" {
			m.AgentID = &v.AgentID
		}
		e := &Event{
			Kind: KindMessage, Message: m, At: now,
			facts: facts{conversationID: v.ConversationID, session: v.SessionID}, layout: h.layout,
		}
		for s := range cl.subs {
			if s.visitor.SessionID == v.SessionID {
				s.push(Item{Event: e}) // also to one that is still catching up: no window has it for them
			}
		}
	})
}

// UpdateVisitor replaces what is known of a session by a newer reading, for the rows to come.
func (h *Hub) UpdateVisitor(v *Visitor) {
	h.withClass(v, func(cl *class) {
		if h.opts.Rule.Mode == ModeSession {
			cl.visitor = v
		}
	})
}

func (h *Hub) withClass(v *Visitor, do func(*class)) {
	c := h.find(v.ConversationID)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl, ok := c.classes[h.classKey(v)]; ok {
		do(cl)
	}
}
