package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// summary is the outcome of a run, with the names that -json gives them.
type summary struct {
	Produced         int64          `json:"produced"`
	Received         int64          `json:"received"`
	Lost             int64          `json:"lost"`
	Duplicated       int64          `json:"duplicated"`
	OutOfOrder       int64          `json:"out_of_order"`
	Faults           []faultSummary `json:"faults"`
	ExecutorsSpawned uint64         `json:"executors_spawned"`
	ExecutorsStopped uint64         `json:"executors_stopped"`
	Resolutions      uint64         `json:"resolutions"`
	MetadataRequests int64          `json:"metadata_requests"`
	DurationMS       int64          `json:"duration_ms"`

	// For people only.
	title              string
	faults             []fault
	stall, writerStall time.Duration
	resolveCalls       uint64
}

type faultSummary struct {
	Kind    string `json:"kind"`
	AtMS    int64  `json:"at_ms"`
	StallMS int64  `json:"stall_ms"`
}

func (s *summary) addFaults(faults []fault) {
	s.faults = faults
	s.Faults = []faultSummary{} // not null
	for _, f := range faults {
		s.Faults = append(s.Faults, faultSummary{f.kind, f.at.Milliseconds(), f.stall.Milliseconds()})
	}
}

// ok says whether the run showed what it is there to show.
func (s *summary) ok() bool {
	return s.Lost == 0 && s.Duplicated == 0 && s.OutOfOrder == 0 && s.ExecutorsSpawned == s.ExecutorsStopped
}

func (s *summary) writeJSON(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

// writeText writes the summary for people.
func (s *summary) writeText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", s.title)
	fmt.Fprintf(&b, "records    %d produced, %d received: %d lost, %d duplicated, %d out of order\n",
		s.Produced, s.Received, s.Lost, s.Duplicated, s.OutOfOrder)
	fmt.Fprintf(&b, "stall      a partition's consumer was given nothing for %d ms at most; its producer could write nothing for %d ms\n",
		s.stall.Milliseconds(), s.writerStall.Milliseconds())
	for _, f := range s.faults {
		fmt.Fprintf(&b, "  %6.1f s  %-6s %5d ms  (producer %d ms)  %s\n",
			f.at.Seconds(), f.kind, f.stall.Milliseconds(), f.writerStall.Milliseconds(), f.detail)
	}
	fmt.Fprintf(&b, "executors  %d spawned, %d stopped\n", s.ExecutorsSpawned, s.ExecutorsStopped)
	fmt.Fprintf(&b, "mapper     %d resolutions in %d calls, which took %d metadata requests\n",
		s.Resolutions, s.resolveCalls, s.MetadataRequests)
	_, err := io.WriteString(w, b.String())
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
