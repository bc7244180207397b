package main

import (
	"fmt"
	"strings"
)

// matrix prints the table, and returns the defects that are not caught by the layer
// that should, or by any.
func matrix(cells map[string]cell) (text string, holes []string) {
	var b strings.Builder
	b.WriteString("# The net, measured\n\n")
	b.WriteString("Each row is a defect that was seeded into the source, alone; each column a layer of checks\n")
	b.WriteString("that was asked for it. Printed by `go run ./internal/net -out docs/net.md`.\n\n")
	b.WriteString("**X** caught, and this is the layer that should; x caught; - not caught; t: a test did not\nend, as one that hangs, and one on a busy machine; blank: the layer sees nothing of such a\ndefect; ? not asked yet.\n\n")
	b.WriteString("| layer | what |\n|---|---|\n")
	for _, l := range layers {
		fmt.Fprintf(&b, "| %s | %s |\n", l.name, l.what)
	}
	b.WriteString("\n| defect | where | should be caught by |")
	for _, l := range layers {
		fmt.Fprintf(&b, " %s |", l.name)
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat(":-:|", len(layers)) + "\n")
	caught := make([]int, len(layers))
	asked := make([]int, len(layers))
	for _, d := range defects {
		fmt.Fprintf(&b, "| %s | %s | %s |", d.Name, d.where(), d.By)
		somebody, unknown := false, false
		for i, l := range layers {
			mark := " "
			if l.sees(d) {
				c, there := cells[key(d, l)]
				switch {
				case !there:
					mark, unknown = "?", true
				case c.hangs():
					mark = "t"
				case c.Caught && l.name == d.By:
					mark = "**X**"
				case c.Caught:
					mark = "x"
				default:
					mark = "-"
				}
				if there {
					asked[i]++
				}
				if c.Caught && !c.hangs() {
					caught[i]++
					somebody = true
				}
				if there && (!c.Caught || c.hangs()) && l.name == d.By {
					holes = append(holes, d.Name+": not caught by "+d.By)
				}
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
		if !somebody && !unknown {
			holes = append(holes, d.Name+": caught by nobody")
		}
	}
	b.WriteString("| **caught, of those asked** | | |")
	for i := range layers {
		fmt.Fprintf(&b, " %d/%d |", caught[i], asked[i])
	}
	b.WriteString("\n\n## The classic mapper's defects\n\nWhat its users suffer from, and the rows above that bring it back.\n\n| it | rows |\n|---|---|\n")
	for i, what := range classic[1:] {
		var rows []string
		for _, d := range defects {
			if d.Classic == i+1 {
				rows = append(rows, d.Name)
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", what, strings.Join(rows, "; "))
	}
	b.WriteString("\n## Who caught what\n\nThe test that failed first, and why, for the layer that should catch it.\n\n| defect | test |\n|---|---|\n")
	for _, d := range defects {
		if l, ok := named(d.By); ok {
			if c := cells[key(d, l)]; c.Caught {
				fmt.Fprintf(&b, "| %s | %s |\n", d.Name, escape(c.By))
			}
		}
	}
	return b.String(), holes
}

// escape makes s a cell of a table.
func escape(s string) string {
	const enough = 140
	if r := []rune(s); len(r) > enough {
		s = string(r[:enough]) + "…"
	}
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "\n", " ").Replace(s)
}
