package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// errNoSocket: sipgo would open a new UDP socket, which it never closes and which no phone behind NAT hears.
var errNoSocket = errors.New("no UDP address to send from: Config.Listen has none of that address family")

// errNotAsked: sipgo wants to open a connection to where a Via header points, because the request's own connection is gone. Nobody may make us
// connect to an address of his choice.
var errNotAsked = errors.New("no connection is made for a response")

// lookup bounds how long a name server may take.
const lookup = 4 * time.Second

// dials are the addresses that we are about to send a request to over TCP; connections are made to those only.
type dials struct {
	mu   sync.Mutex
	open map[netip.AddrPort]int
}

func (d *dials) add(to netip.AddrPort, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = make(map[netip.AddrPort]int)
	}
	if d.open[to] += n; d.open[to] <= 0 {
		delete(d.open, to)
	}
}

func (d *dials) has(to netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[to] > 0
}

// dialer makes the TCP connections that sipgo asks for.
func (e *Endpoint) dialer(net.Addr) net.Dialer {
	return net.Dialer{Timeout: tcpDial, Control: func(_, address string, _ syscall.RawConn) error {
		if e.ctx.Err() != nil {
			return context.Cause(e.ctx) // nobody would close it
		}
		to, err := netip.ParseAddrPort(address)
		if err != nil || !e.dials.has(netip.AddrPortFrom(to.Addr().Unmap(), to.Port())) {
			return errNotAsked
		}
		return nil
	}}
}

// prepare looks the destination of a request up, if it is a name, and lets a connection to it be made until done is called.
func (e *Endpoint) prepare(ctx context.Context, req *sipmsg.Request) (done func(), err error) {
	host, port, err := net.SplitHostPort(req.Destination())
	if err != nil {
		return nil, fmt.Errorf("destination %q: %w", short(req.Destination()), err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("destination %q: no such port", short(req.Destination()))
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		// A and AAAA records only; SRV is not looked at. A leg's goroutine may be waiting.
		ctx, cancel := context.WithTimeout(ctx, lookup)
		defer cancel()
		all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("destination %q: %w", short(host), err)
		}
		ip = all[0]
		for _, a := range all {
			if a.Unmap().Is4() {
				ip = a
				break
			}
		}
	}
	to := netip.AddrPortFrom(ip.Unmap(), uint16(n))
	req.SetDestination(to.String())
	if req.Transport() != "TCP" {
		if req.Laddr.IP == nil {
			return nil, errNoSocket
		}
		return func() {}, nil
	}
	e.dials.add(to, 1)
	return func() { e.dials.add(to, -1) }, nil
}

// request starts a client transaction. before is called with it before the request is sent; it may be nil.
func (e *Endpoint) request(ctx context.Context, req *sipmsg.Request, before func(*sipmsg.ClientTx)) (*sipmsg.ClientTx, error) {
	done, err := e.prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	defer done()
	tx, err := e.txl.NewClientTransaction(ctx, req)
	if err != nil {
		return nil, err
	}
	if before != nil {
		before(tx)
	}
	if err := tx.Init(); err != nil {
		tx.Terminate()
		return nil, err
	}
	return tx, nil
}

// exchange runs a client transaction other than INVITE to its final response.
func (e *Endpoint) exchange(ctx context.Context, req *sipmsg.Request) (*sipmsg.Response, error) {
	tx, err := e.request(ctx, req, nil)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", req.Method, err)
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			err := tx.Err()
			if err == nil {
				err = errors.New("no response")
			}
			return nil, fmt.Errorf("send %s: %w", req.Method, err)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// sendAck sends the ACK to a 2xx, which has no transaction. If it is lost the peer repeats its 2xx.
func (l *Leg) sendAck(ack *sipmsg.Request) {
	done, err := l.e.prepare(l.e.ctx, ack)
	if err == nil {
		err = l.e.tpl.WriteMsg(ack)
		done()
	}
	if err != nil {
		l.log.Debug("ACK not sent", "error", err)
	}
}
