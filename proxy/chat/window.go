package chat

// window keeps the last events of a class, bounded by count and bytes, so that most resumes and polls need no query. Events are
// consecutive by Seq.
type window struct {
	events    []*Event // ring
	start, n  int
	bytes     int
	maxEvents int
	maxBytes  int
}

func newWindow(maxEvents, maxBytes int) window {
	return window{maxEvents: maxEvents, maxBytes: maxBytes}
}

func (w *window) at(i int) *Event { return w.events[(w.start+i)%len(w.events)] }

func (w *window) push(e *Event) {
	if w.n == len(w.events) && w.n < w.maxEvents {
		w.grow()
	}
	for w.n > 0 && (w.n == len(w.events) || w.bytes+e.size() > w.maxBytes) {
		w.drop()
	}
	w.events[(w.start+w.n)%len(w.events)] = e
	w.n++
	w.bytes += e.size()
}

func (w *window) grow() {
	larger := make([]*Event, min(max(8, 2*len(w.events)), w.maxEvents))
	for i := range w.n {
		larger[i] = w.at(i)
	}
	w.events, w.start = larger, 0
}

func (w *window) drop() {
	w.bytes -= w.at(0).size()
	w.events[w.start] = nil
	w.start = (w.start + 1) % len(w.events)
	w.n--
}

// after returns the events that follow seq, at most maxBytes of them but at least one, and whether none is missing before the
// first. last is the class's newest seq.
func (w *window) after(seq, last uint64, maxBytes int) ([]*Event, bool) {
	missing := last - seq // last >= seq
	if missing == 0 {
		return nil, true
	}
	if missing > uint64(w.n) {
		return nil, false
	}
	first := w.n - int(missing)
	var out []*Event
	for i, size := first, 0; i < w.n; i++ {
		e := w.at(i)
		if size += e.size(); len(out) > 0 && size > maxBytes {
			break
		}
		out = append(out, e)
	}
	return out, true
}
