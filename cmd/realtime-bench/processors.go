package main

import "github.com/prometheus/procfs"

// processorTime is what all processors of the machine did, in seconds. Stolen is the time in which a virtual machine had work and its host
// did something else. Where /proc cannot be read, all are zero.
type processorTime struct{ total, idle, stolen float64 }

func processors() (t processorTime) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return t
	}
	stat, err := fs.Stat()
	if err != nil {
		return t
	}
	c := stat.CPUTotal // guests are part of user and nice
	t.idle, t.stolen = c.Idle+c.Iowait, c.Steal
	t.total = c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + t.idle + t.stolen
	return t
}

func (t processorTime) since(before processorTime) processorTime {
	return processorTime{t.total - before.total, t.idle - before.idle, t.stolen - before.stolen}
}

func (t processorTime) plus(u processorTime) processorTime {
	return processorTime{t.total + u.total, t.idle + u.idle, t.stolen + u.stolen}
}

// shares are how much of the time the processors worked, and how much of it was stolen, from 0 to 1.
func (t processorTime) shares() (busy, stolen float64) {
	return ratio(t.total-t.idle-t.stolen, t.total), ratio(t.stolen, t.total)
}
