package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/brokermap/brokermap/consumer"
)

// timeFormat has the milliseconds that a record's timestamp has.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// stamp formats a record's timestamp, "" where it has none.
func stamp(r *consumer.Record) string {
	if r.Timestamp < 0 {
		return ""
	}
	return time.UnixMilli(r.Timestamp).UTC().Format(timeFormat)
}

// writeText writes one line: partition, offset, time, key and value, with tabs
// between them. What cannot be printed, a backslash included, is written as in a
// Go string, so that it is one line always, and a field has no tab.
func writeText(w io.Writer, b *consumer.Batch, r *consumer.Record) error {
	line := strconv.AppendInt(nil, int64(b.Partition), 10)
	line = append(line, '\t')
	line = strconv.AppendInt(line, r.Offset, 10)
	line = append(line, '\t')
	line = append(line, stamp(r)...)
	line = append(line, '\t')
	line = appendPrintable(line, r.Key)
	line = append(line, '\t')
	line = appendPrintable(line, r.Value)
	_, err := w.Write(append(line, '\n'))
	return err
}

// appendPrintable appends b as a Go string has it, but for its quotes.
func appendPrintable(line, b []byte) []byte {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == '"':
			line = append(line, '"')
		case r == utf8.RuneError && size == 1:
			line = append(line, `\x`...)
			line = append(line, "0123456789abcdef"[b[0]>>4], "0123456789abcdef"[b[0]&15])
		default:
			quoted := strconv.AppendQuote(nil, string(r))
			line = append(line, quoted[1:len(quoted)-1]...)
		}
		b = b[size:]
	}
	return line
}

// recordJSON is a record in JSON. A key or value that there is none of is null; one
// that is no UTF-8 is in base64, under another name.
type recordJSON struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Time        string       `json:"time,omitempty"`
	Key         *string      `json:"key"`
	KeyBase64   string       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 string       `json:"value_base64,omitempty"`
	Headers     []headerJSON `json:"headers,omitempty"`
}

// headerJSON is one header; there may be several with the same key.
type headerJSON struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

// writeJSON writes one line with an object.
func writeJSON(w io.Writer, b *consumer.Batch, r *consumer.Record) error {
	j := recordJSON{Topic: b.Topic, Partition: b.Partition, Offset: r.Offset, Time: stamp(r)}
	j.Key, j.KeyBase64 = stringOrBase64(r.Key)
	j.Value, j.ValueBase64 = stringOrBase64(r.Value)
	for _, h := range r.Headers() {
		header := headerJSON{Key: string(h.Key)}
		header.Value, header.ValueBase64 = stringOrBase64(h.Value)
		j.Headers = append(j.Headers, header)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(j)
}

func stringOrBase64(b []byte) (s *string, in64 string) {
	switch {
	case b == nil:
		return nil, ""
	case utf8.Valid(b):
		text := string(b)
		return &text, ""
	}
	return nil, base64.StdEncoding.EncodeToString(b)
}
