package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// footprint is what the proxy's process uses, but for its pool of connections to Supabase, which are kept for a while.
type footprint struct {
	ResidentBytes int64 `json:"resident_bytes"`
	Goroutines    int   `json:"goroutines"`
	Descriptors   int   `json:"descriptors"`
}

// readFootprint asks the operator's port, on a connection of its own that does not stay.
func readFootprint(ctx context.Context, admin string) (f footprint, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return f, fmt.Errorf("read metrics: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return f, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_resident_memory_bytes":
			f.ResidentBytes = int64(value)
		case "go_goroutines":
			f.Goroutines = int(value)
		case "process_open_fds":
			f.Descriptors = int(value)
		}
	}
	if err := lines.Err(); err != nil {
		return f, fmt.Errorf("read metrics: %w", err)
	}
	if f.ResidentBytes == 0 || f.Goroutines == 0 || f.Descriptors == 0 {
		return f, fmt.Errorf("read metrics: resident memory, goroutines or descriptors are missing")
	}
	return f, nil
}

// footprint looks at the proxy. Each connection in its pool has two goroutines.
func (u *upstream) footprint(ctx context.Context, admin string) (footprint, error) {
	pooled := u.connections()
	f, err := readFootprint(ctx, admin)
	if err == nil {
		f.Goroutines, f.Descriptors = f.Goroutines-2*pooled, f.Descriptors-pooled
	}
	return f, err
}

// spareHandles is how many goroutines and descriptors more than before count as none: calls to Supabase come and go.
const spareHandles = 20

// within tells whether goroutines and descriptors are those of before.
func (f footprint) within(before footprint) bool {
	return f.Goroutines <= before.Goroutines+spareHandles && f.Descriptors <= before.Descriptors+spareHandles
}

func (f footprint) orMore(g footprint) footprint {
	return footprint{
		ResidentBytes: max(f.ResidentBytes, g.ResidentBytes), Goroutines: max(f.Goroutines, g.Goroutines),
		Descriptors: max(f.Descriptors, g.Descriptors),
	}
}
