package sip

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// dialog is the state of RFC 3261 §12 as plain data: what it takes to send a request within it, from this process or a later one.
type dialog struct {
	CallID    string `json:"call_id"`
	LocalTag  string `json:"local_tag"`
	RemoteTag string `json:"remote_tag"`
	// From and To of our requests without the tag, as they stood in the first INVITE.
	Local  string `json:"local"`
	Remote string `json:"remote"`
	// The last CSeq numbers used; RemoteSeq counts only when HasRemoteSeq.
	LocalSeq     uint32 `json:"local_seq"`
	RemoteSeq    uint32 `json:"remote_seq"`
	HasRemoteSeq bool   `json:"has_remote_seq"`

	Target string   `json:"target"`           // remote target: the peer's Contact URI
	Routes []string `json:"routes,omitempty"` // route set in the order of our Route headers

	Transport string `json:"transport"`       // "udp" or "tcp"
	Source    string `json:"source"`          // where the peer's messages come from, host:port
	Phone     bool   `json:"phone"`           // the peer is an account's phone, see destination
	Laddr     string `json:"laddr,omitempty"` // our UDP socket that the peer talks to, host:port
}

func (d *dialog) state() json.RawMessage {
	b, err := json.Marshal(d)
	if err != nil { // strings and numbers only
		panic(err)
	}
	return b
}

// next builds the next request of ours within the dialog.
func (d *dialog) next(e *Endpoint, method sipmsg.RequestMethod) *sipmsg.Request {
	d.LocalSeq++
	return d.request(e, method, d.LocalSeq)
}

// request builds a request within the dialog (RFC 3261 §12.2.1.1). A target that can't be parsed makes it go to the peer's address.
func (d *dialog) request(e *Endpoint, method sipmsg.RequestMethod, seq uint32) *sipmsg.Request {
	var target sipmsg.Uri
	if sipmsg.ParseUri(d.Target, &target) != nil || target.Host == "" {
		host, port, _ := net.SplitHostPort(d.Source)
		n, _ := strconv.Atoi(port)
		target = sipmsg.Uri{Scheme: "sip", Host: host, Port: n}
	}
	routes := slices.Clone(d.Routes)
	hop := target
	uri := *target.Clone()
	uri.Headers = nil
	if len(routes) > 0 {
		if first, ok := routeURI(routes[0]); ok {
			hop = first
			if !hasParam(first.UriParams, "lr") { // a strict router: it wants itself as Request-URI and the target last
				routes = append(routes[1:], "<"+uri.String()+">")
				uri = *first.Clone()
				uri.Headers = nil
			}
		}
	}
	req := sipmsg.NewRequest(method, uri)
	e.address(req, d, hop)
	for _, r := range routes {
		req.AppendHeader(sipmsg.NewHeader("Route", r))
	}
	req.AppendHeader(sipmsg.NewHeader("Max-Forwards", "70"))
	req.AppendHeader(sipmsg.NewHeader("From", d.Local+";tag="+d.LocalTag))
	to := d.Remote
	if d.RemoteTag != "" {
		to += ";tag=" + d.RemoteTag
	}
	req.AppendHeader(sipmsg.NewHeader("To", to))
	callID := sipmsg.CallIDHeader(d.CallID)
	req.AppendHeader(&callID)
	req.AppendHeader(&sipmsg.CSeqHeader{SeqNo: seq, MethodName: method})
	req.AppendHeader(sipmsg.NewHeader("User-Agent", product))
	req.SetBody(nil)
	return req
}

// address gives req its Via, transport and destination; hop is the URI that RFC 3261 sends it to.
func (e *Endpoint) address(req *sipmsg.Request, d *dialog, hop sipmsg.Uri) {
	transport, to := d.destination(e, hop)
	local := e.localFor(d, transport, to)
	req.SetTransport(strings.ToUpper(transport))
	req.SetDestination(to)
	if transport == "udp" && local.IsValid() {
		// Without it sipgo would send from a new port.
		req.Laddr = sipmsg.Addr{IP: local.Addr().AsSlice(), Port: int(local.Port())}
	}
	shown := e.shown(local, to)
	via := &sipmsg.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(transport), Host: shown.Addr().String(), Port: int(shown.Port())}
	via.Params = sipmsg.NewParams()
	via.Params.Add("branch", sipmsg.RFC3261BranchMagicCookie+newTag())
	via.Params.Add("rport", "")
	req.AppendHeader(via)
}

// destination tells where a request within the dialog goes. The RFC's answer is the first route, or else the remote target. We keep to it but
// for these cases, in which the target can't be reached or may not be:
//
//   - An account's phone is sent to where its own messages come from (symmetric signalling): behind NAT its Contact is an address of its own
//     network, and where there is no NAT the two are the same. No Contact and no Record-Route of a phone makes us send to a third party; a proxy
//     that the phone is behind is where its messages come from.
//   - Over TCP the connection that the peer opened is used as long as it is open; browsers and phones behind NAT accept none. Then a phone is
//     called at the port that it names, but at no other host.
//   - Any other peer whose Contact is a private, link-local or unspecified address, or not an address at all but ".invalid", while it
//     talks to us from another one that is public, is sent to where it talks from.
func (d *dialog) destination(e *Endpoint, hop sipmsg.Uri) (transport, to string) {
	transport = d.Transport
	if t, ok := uriParam(hop.UriParams, "transport"); ok && len(e.tcp) > 0 {
		switch strings.ToLower(t) {
		case "tcp":
			transport = "tcp"
		case "udp":
			transport = "udp"
		}
	}
	port := hop.Port
	if port == 0 {
		port = 5060
	}
	host := strings.Trim(hop.Host, "[]")
	to = net.JoinHostPort(host, strconv.Itoa(port))
	source, err := netip.ParseAddrPort(d.Source)
	if d.Phone {
		// Not by hop's transport: a phone behind a TCP connection often leaves out ;transport=tcp, and the other way round.
		named := len(d.Routes) > 0
		if d.Transport == "tcp" {
			named = !e.connected(d.Source)
		}
		if named && sameHost(host, source.Addr().String()) {
			return d.Transport, to
		}
		return d.Transport, d.Source
	}
	if err != nil || len(d.Routes) > 0 {
		return transport, to
	}
	if transport == "tcp" && d.Transport == "tcp" && e.connected(d.Source) {
		return transport, d.Source
	}
	target, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		if strings.HasSuffix(strings.ToLower(host), ".invalid") {
			return transport, d.Source
		}
	case target.IsUnspecified() || !public(target) && public(source.Addr()):
		if transport == d.Transport {
			return transport, d.Source
		}
	}
	return transport, to
}

func public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedNAT.Contains(a)
}

// sharedNAT is the address space of carriers' NAT (RFC 6598).
var sharedNAT = netip.MustParsePrefix("100.64.0.0/10")

// connected tells whether a TCP connection to that address is open.
func (e *Endpoint) connected(addr string) bool {
	c, err := e.tpl.GetConnection("tcp", addr)
	if err != nil {
		return false
	}
	c.TryClose() // gives back the reference that GetConnection took
	return true
}

// localFor picks the socket that we talk to the peer from: the one it talked to, else the first of the transport and the address family.
func (e *Endpoint) localFor(d *dialog, transport, to string) netip.AddrPort {
	if transport == "udp" {
		for _, at := range []string{to, d.Source} {
			if c, err := e.tpl.GetConnection("udp", at); err == nil {
				local, err := netip.ParseAddrPort(c.LocalAddr().String())
				c.TryClose()
				if err == nil && e.ours(local) {
					return local
				}
			}
		}
		if at, err := netip.ParseAddrPort(d.Laddr); err == nil && e.ours(at) {
			return at
		}
	}
	var want netip.Addr
	if at, err := netip.ParseAddrPort(to); err == nil {
		want = at.Addr().Unmap()
	}
	var best netip.AddrPort
	fit := func(at netip.AddrPort) {
		is4 := !want.IsValid() || want.Is4()
		if at.Addr().Is4() == is4 && (!best.IsValid() || want.IsValid() && best.Addr().IsLoopback() != want.IsLoopback() && at.Addr().IsLoopback() == want.IsLoopback()) {
			best = at
		}
	}
	if transport == "udp" {
		for _, l := range e.udp {
			fit(l.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort())
		}
	} else {
		for _, l := range e.tcp {
			fit(l.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort())
		}
	}
	return best
}

// ours tells whether one of our UDP sockets has this address.
func (e *Endpoint) ours(at netip.AddrPort) bool {
	return slices.ContainsFunc(e.udp, func(l *packets) bool { return l.LocalAddr().String() == at.String() })
}

// shown is the address that a peer at `to` should use for us: the socket's own, or, when that listens on all, the one that the route to the
// peer starts from.
func (e *Endpoint) shown(local netip.AddrPort, to string) netip.AddrPort {
	if !local.IsValid() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 5060)
	}
	if !local.Addr().IsUnspecified() {
		return local
	}
	conn, err := net.Dial("udp", to) // sends nothing: it only asks for the route
	if err != nil {
		return local
	}
	defer conn.Close()
	return netip.AddrPortFrom(addrOf(conn.LocalAddr()), local.Port())
}

// contact is our Contact header value towards the dialog's peer.
func (d *dialog) contact(e *Endpoint) string {
	to := d.Source
	if to == "" {
		var target sipmsg.Uri
		if sipmsg.ParseUri(d.Target, &target) == nil {
			_, to = d.destination(e, target)
		}
	}
	at := e.shown(e.localFor(d, d.Transport, to), to)
	s := "<sip:" + at.String()
	if d.Transport == "tcp" {
		s += ";transport=tcp"
	}
	return s + ">"
}

// routeURI reads the URI of a Route or Record-Route value.
func routeURI(value string) (sipmsg.Uri, bool) {
	var uri sipmsg.Uri
	_, rest, ok := strings.Cut(value, "<")
	text, _, closed := strings.Cut(rest, ">")
	if !ok || !closed || sipmsg.ParseUri(text, &uri) != nil || uri.Host == "" {
		return sipmsg.Uri{}, false
	}
	return uri, true
}

func hasParam(params sipmsg.HeaderParams, name string) bool {
	_, ok := uriParam(params, name)
	return ok
}

// untagged is a From or To value without its tag.
func untagged(name string, uri sipmsg.Uri, params sipmsg.HeaderParams) string {
	h := sipmsg.FromHeader{DisplayName: name, Address: uri, Params: params.Clone()}
	h.Params.Remove("tag")
	return h.Value()
}

// refresh takes a new remote target from the Contact of a request or response that may change it (RFC 3261 §12.2.1.2); it tells whether it did.
func (d *dialog) refresh(m interface{ Contact() *sipmsg.ContactHeader }) bool {
	c := m.Contact()
	if c == nil || c.Address.Wildcard || c.Address.Host == "" {
		return false
	}
	target := c.Address.String()
	if target == d.Target || len(target) > maxURI || !printable(target) {
		return false
	}
	d.Target = target
	return true
}

// heard notes where the peer talks from. A phone behind NAT may come from another port after a while.
func (d *dialog) heard(source string, transport string) {
	if sipmsg.NetworkToLower(transport) == d.Transport {
		d.Source = source
	}
}

// hostPart writes an address as the host of a URI.
func hostPart(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
