package standin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// compareValues orders two stored values of one column; neither is nil.
func compareValues(a, b any) int {
	switch x := a.(type) {
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y)
		}
	case json.Number:
		if y, ok := b.(json.Number); ok {
			return compareNumbers(x.String(), y.String())
		}
	case bool:
		if y, ok := b.(bool); ok {
			return cmp.Compare(boolRank(x), boolRank(y))
		}
	case json.RawMessage:
		if y, ok := b.(json.RawMessage); ok {
			return bytes.Compare(x, y)
		}
	case string:
		if y, ok := b.(string); ok && infinityRank(x) == 0 && infinityRank(y) == 0 {
			return strings.Compare(x, y)
		}
	}
	if order := cmp.Compare(infinityRank(a), infinityRank(b)); order != 0 {
		return order
	}
	return strings.Compare(lookupKey(a), lookupKey(b))
}

// infinityRank orders the special values of numbers and timestamps, which JSON writes as strings, against the ordinary ones.
func infinityRank(v any) int {
	switch v {
	case "-Infinity", "-infinity":
		return -1
	case "Infinity", "infinity":
		return 1
	case "NaN":
		return 2
	}
	return 0
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareNumbers(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	rx, okX := new(big.Rat).SetString(a)
	ry, okY := new(big.Rat).SetString(b)
	if !okX || !okY {
		return strings.Compare(a, b)
	}
	return rx.Cmp(ry)
}
