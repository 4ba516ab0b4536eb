package chat

import (
	"crypto/sha256"
	"slices"
	"time"
)

// maxSeen bounds the hashes that a cursor carries, which keeps its text under 600 bytes.
const maxSeen = 78

// rowHash names a row in a cursor. Forty bits are enough among the few rows of an overlap.
type rowHash [5]byte

func hashRow(id string) rowHash {
	sum := sha256.Sum256([]byte(id))
	return rowHash(sum[:5])
}

type seenRow struct {
	created int64 // microseconds
	hash    rowHash
}

// position says what a class (or a subscriber that is still catching up) has been given: every granted row created before
// high - overlap, and of the later ones those in seen. Rows created before since but inside the overlap are not known any more.
type position struct {
	high  int64 // microseconds since 1970, database's clock
	since int64
	seen  []seenRow // ascending by created
}

// note records a row. It does not move high past limit, up to which reads have shown every row: a row ahead of the database's clock,
// or one that came while the channel lost others, must not make the rows before it be skipped.
func (p *position) note(id string, created, limit time.Time, overlap time.Duration) {
	p.noteRow(seenRow{created: created.UnixMicro(), hash: hashRow(id)}, limit, overlap)
}

func (p *position) noteRow(row seenRow, limit time.Time, overlap time.Duration) {
	p.insert(row)
	p.advance(min(row.created, limit.UnixMicro()), overlap)
}

func (p *position) insert(row seenRow) {
	i, _ := slices.BinarySearchFunc(p.seen, row.created+1, func(s seenRow, at int64) int { return cmpInt(s.created, at) })
	p.seen = slices.Insert(p.seen, i, row)
}

// advance moves high up and forgets what the overlap no longer reaches.
func (p *position) advance(high int64, overlap time.Duration) {
	p.high = max(p.high, high)
	floor := p.high - overlap.Microseconds()
	n := 0
	for n < len(p.seen) && p.seen[n].created < floor {
		n++
	}
	if over := len(p.seen) - n - maxSeen; over > 0 {
		n += over
		p.since = max(p.since, p.seen[n-1].created+1)
	}
	p.seen = slices.Delete(p.seen, 0, n)
	p.since = max(p.since, floor)
}

// newest is the created_at of the last seen row, which is after high for a row ahead of the clock; high when none is seen.
func (p *position) newest() int64 {
	if len(p.seen) == 0 {
		return p.high
	}
	return p.seen[len(p.seen)-1].created
}

// clone returns a copy that shares nothing with p.
func (p *position) clone() position {
	return position{high: p.high, since: p.since, seen: slices.Clone(p.seen)}
}

type recall uint8

const (
	recallNew recall = iota
	recallSeen
	recallUnsure
)

// recall says whether the row was given before.
func (p *position) recall(id string, created time.Time) recall {
	hash := hashRow(id)
	for _, s := range p.seen {
		if s.hash == hash {
			return recallSeen
		}
	}
	if created.UnixMicro() < p.since {
		return recallUnsure
	}
	return recallNew
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
