package sip

import (
	"reflect"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// parser reads SIP with sipgo's header parsers, but for these:
//
//   - A header that one of them refuses is kept as plain text instead of losing the whole message: validate then answers 400, where sipgo would
//     log the message and stay silent.
//   - Contact lists are split here: sipgo takes neither blanks around an address without angle brackets nor a comma in a quoted parameter.
//   - Route and Record-Route stay as they are written. sipgo's drop display names and all parameters after the ">", which a response has to repeat
//     (RFC 3261 §12.1.1).
func parser() *sipmsg.Parser {
	lenient := make(map[string]sipmsg.HeaderParser)
	for name, parse := range sipmsg.DefaultHeadersParser() {
		switch name {
		case "route", "record-route":
			continue
		case "contact", "m":
			parse = parseContact
		}
		lenient[name] = func(headerName []byte, value string) (h sipmsg.Header, err error) {
			defer func() {
				if recover() != nil { // on sipgo's reader, where a panic would end the process
					h, err = sipmsg.NewHeader(broken+string(headerName), value), nil
				}
			}()
			h, err = parse(headerName, value)
			if err == nil || reflect.TypeOf(err) == commaType {
				return h, err
			}
			return sipmsg.NewHeader(broken+string(headerName), value), nil
		}
	}
	return sipmsg.NewParser(sipmsg.WithHeadersParsers(lenient))
}

// broken is put in front of the name of a header that could not be parsed.
const broken = "X-Broken-"

// parseContact reads the first value of a Contact list.
func parseContact(_ []byte, list string) (sipmsg.Header, error) {
	at := listEnd(list)
	value := strings.TrimSpace(list[:at])
	if !strings.Contains(value, "<") { // what follows the semicolon is the header's, not the URI's (RFC 3261 §20.10)
		uri, params, more := strings.Cut(value, ";")
		value = strings.TrimSpace(uri)
		if more {
			value += ";" + params
		}
	}
	h := &sipmsg.ContactHeader{}
	var err error
	h.DisplayName, err = sipmsg.ParseAddressValue(value, &h.Address, &h.Params)
	if err == nil && at < len(list) {
		err = commaAt(at)
	}
	return h, err
}

// listEnd is where the first value of a comma-separated list ends: at a comma outside quotes and angle brackets.
func listEnd(s string) int {
	quoted, bracketed := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && !bracketed:
			quoted = !quoted
		case quoted:
		case c == '<':
			bracketed = true
		case c == '>':
			bracketed = false
		case c == ',' && !bracketed:
			return i
		}
	}
	return len(s)
}

// commaType is sipgo's unexported error by which a header parser says where another value follows. It is an int.
var commaType = func() reflect.Type {
	_, err := sipmsg.DefaultHeadersParser()["contact"](nil, "<sip:a>,<sip:b>")
	return reflect.TypeOf(err)
}()

func commaAt(i int) error {
	e := reflect.New(commaType).Elem()
	e.SetInt(int64(i))
	return e.Interface().(error)
}

// routes gives the values of all Route or Record-Route headers in their order.
func routes(m interface {
	GetHeaders(string) []sipmsg.Header
}, name string) []string {
	var all []string
	for _, h := range m.GetHeaders(name) {
		for value := h.Value(); value != ""; {
			at := listEnd(value)
			if v := strings.TrimSpace(value[:at]); v != "" {
				all = append(all, v)
			}
			value = value[min(at+1, len(value)):]
		}
	}
	return all
}
