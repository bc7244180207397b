package tla_test

import (
	"fmt"
	"slices"
	"strings"
)

// canonical returns a value as TLC prints it in one form only: without white
// space, and with the members of sets and the fields of records and functions in
// order.
func canonical(text string) (string, error) {
	p := &valueParser{text: text}
	v, err := p.value()
	if err != nil {
		return "", fmt.Errorf("at %q: %w", tail(p.text[p.at:]), err)
	}
	if p.skip(); p.at < len(p.text) {
		return "", fmt.Errorf("after the value there is %q", tail(p.text[p.at:]))
	}
	return v, nil
}

type valueParser struct {
	text string
	at   int
}

func (p *valueParser) skip() {
	for p.at < len(p.text) && strings.IndexByte(" \n\t", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take skips token; false where it does not come next.
func (p *valueParser) take(token string) bool {
	p.skip()
	if !strings.HasPrefix(p.text[p.at:], token) {
		return false
	}
	p.at += len(token)
	return true
}

func (p *valueParser) value() (string, error) {
	switch {
	case p.take("<<"):
		return p.list("<<", ">>", ",", "", false)
	case p.take("{"):
		return p.list("{", "}", ",", "", true)
	case p.take("["):
		return p.list("[", "]", ",", "|->", true)
	case p.take("("):
		return p.list("(", ")", "@@", ":>", true)
	case p.take(`"`):
		n := strings.IndexByte(p.text[p.at:], '"')
		if n < 0 {
			return "", fmt.Errorf("the string has no end")
		}
		p.at += n + 1
		return p.text[p.at-n-2 : p.at], nil
	}
	n := strings.IndexFunc(p.text[p.at:]+" ", func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", r)
	})
	if n == 0 {
		return "", fmt.Errorf("no value begins here")
	}
	p.at += n
	return p.text[p.at-n : p.at], nil
}

// list is what stands between brackets: values, or pairs where there is an arrow.
func (p *valueParser) list(begin, end, separator, arrow string, sorted bool) (string, error) {
	var values []string
	for first := true; !p.take(end); first = false {
		if !first && !p.take(separator) {
			return "", fmt.Errorf("%q or %q must come here", separator, end)
		}
		v, err := p.value()
		if err != nil {
			return "", err
		}
		if arrow != "" {
			if !p.take(arrow) {
				return "", fmt.Errorf("%q must come here", arrow)
			}
			to, err := p.value()
			if err != nil {
				return "", err
			}
			v += arrow + to
		}
		values = append(values, v)
	}
	if sorted {
		slices.Sort(values)
	}
	return begin + strings.Join(values, separator) + end, nil
}
