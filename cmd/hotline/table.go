package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// form is how a list is printed.
type form struct {
	JSON bool `help:"As JSON: one array, times in UTC." xor:"form"`
	CSV  bool `name:"csv" help:"As CSV: with a head, times in UTC." xor:"form"`
}

// column is one column of a list. value gives nil, a string, an int, a duration
// or a time.
type column[T any] struct {
	name  string
	wide  bool // in JSON and CSV only
	value func(T) any
}

// write prints rows in the form that was asked for. Tables are for people: local
// time, short durations. JSON and CSV are for programs: RFC 3339 in UTC,
// milliseconds.
func write[T any](to io.Writer, f form, columns []column[T], rows []T) error {
	switch {
	case f.JSON:
		return writeJSON(to, columns, rows)
	case f.CSV:
		return writeCSV(to, columns, rows)
	}
	return writeTable(to, columns, rows, time.Local)
}

func writeTable[T any](to io.Writer, columns []column[T], rows []T, zone *time.Location) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(cell func(column[T]) string) {
		var cells []string
		for _, c := range columns {
			if !c.wide {
				cells = append(cells, cell(c))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	line(func(c column[T]) string {
		return strings.ToUpper(strings.TrimSuffix(strings.ReplaceAll(c.name, "_", " "), " ms"))
	})
	for _, row := range rows {
		line(func(c column[T]) string {
			switch v := c.value(row).(type) {
			case nil:
				return "-"
			case time.Time:
				return v.In(zone).Format("2006-01-02 15:04:05")
			case time.Duration:
				return v.Round(100 * time.Millisecond).String()
			case string:
				if v == "" {
					return "-"
				}
				return printable(v)
			default:
				return fmt.Sprint(v)
			}
		})
	}
	return w.Flush()
}

func writeJSON[T any](to io.Writer, columns []column[T], rows []T) error {
	var b strings.Builder
	b.WriteString("[")
	for i, row := range rows {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n  {")
		for j, c := range columns {
			if j > 0 {
				b.WriteString(", ")
			}
			v := c.value(row)
			switch t := v.(type) {
			case time.Time:
				v = t.UTC().Format(stamp)
			case time.Duration:
				v = t.Milliseconds()
			}
			cell, err := json.Marshal(v)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%q: %s", c.name, cell)
		}
		b.WriteString("}")
	}
	if len(rows) > 0 {
		b.WriteString("\n")
	}
	b.WriteString("]\n")
	_, err := io.WriteString(to, b.String())
	return err
}

// stamp is RFC 3339 with milliseconds.
const stamp = "2006-01-02T15:04:05.000Z07:00"

func writeCSV[T any](to io.Writer, columns []column[T], rows []T) error {
	w := csv.NewWriter(to)
	var head []string
	for _, c := range columns {
		head = append(head, c.name)
	}
	w.Write(head)
	for _, row := range rows {
		var cells []string
		for _, c := range columns {
			switch v := c.value(row).(type) {
			case nil:
				cells = append(cells, "")
			case time.Time:
				cells = append(cells, v.UTC().Format(stamp))
			case time.Duration:
				cells = append(cells, strconv.FormatInt(v.Milliseconds(), 10))
			case string:
				cells = append(cells, harmless(v))
			default:
				cells = append(cells, fmt.Sprint(v))
			}
		}
		w.Write(cells)
	}
	w.Flush()
	return w.Error()
}

// printable takes out what would steer a terminal: callers choose their names.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}

// harmless keeps a spreadsheet from taking a cell for a formula. A number such
// as +84281900 is none and stays as it is.
func harmless(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return s
	}
	if s[0] == '+' && len(s) > 1 && !strings.ContainsFunc(s[1:], func(c rune) bool { return c < '0' || c > '9' }) {
		return s
	}
	return "'" + s
}
