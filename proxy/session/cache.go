package session

import "container/list"

// lru keeps the most recently used entries up to a capacity. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	capacity int
	order    *list.List // of lruEntry, the newest first
	entries  map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](capacity int) *lru[K, V] {
	return &lru[K, V]{capacity: capacity, order: list.New(), entries: make(map[K]*list.Element)}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	e, ok := l.entries[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(lruEntry[K, V]).value, true
}

// peek is get without counting as a use.
func (l *lru[K, V]) peek(key K) (value V, ok bool) {
	if e, found := l.entries[key]; found {
		return e.Value.(lruEntry[K, V]).value, true
	}
	return value, false
}

func (l *lru[K, V]) put(key K, value V) {
	if e, ok := l.entries[key]; ok {
		e.Value = lruEntry[K, V]{key, value}
		l.order.MoveToFront(e)
		return
	}
	l.entries[key] = l.order.PushFront(lruEntry[K, V]{key, value})
	if oldest := l.order.Back(); l.order.Len() > l.capacity {
		delete(l.entries, l.order.Remove(oldest).(lruEntry[K, V]).key)
	}
}

func (l *lru[K, V]) remove(key K) {
	if e, ok := l.entries[key]; ok {
		l.order.Remove(e)
		delete(l.entries, key)
	}
}

// each visits all entries without changing their order. visit may remove the entry that it was given.
func (l *lru[K, V]) each(visit func(K, V)) {
	for e := l.order.Front(); e != nil; {
		next, entry := e.Next(), e.Value.(lruEntry[K, V])
		visit(entry.key, entry.value)
		e = next
	}
}
