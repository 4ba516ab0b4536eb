package rest

import (
	"encoding/json"
	"time"
)

// Clock is the server clock estimate, for tests.
type Clock struct{ c *clock }

// NewTestClock returns an estimate that has seen no answer.
func NewTestClock() Clock { return Clock{c: newClock()} }

// Observe feeds one answer.
func (c Clock) Observe(sent, received, date time.Time) { c.c.observe(sent, received, date) }

// Now is the estimate.
func (c Clock) Now() time.Time { return c.c.now() }

// Reached is the sure bound.
func (c Clock) Reached(t time.Time) time.Time { return c.c.reached(t) }

// DecodeValidation reads the answer of the validation function.
func DecodeValidation(body []byte) (Validation, error) { return decodeValidation(body) }

// PositionOf reads the position of a row.
func PositionOf(row json.RawMessage) (Position, error) { return positionOf(row) }
