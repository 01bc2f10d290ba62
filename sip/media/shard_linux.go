//go:build linux && !portable

package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// On Linux a shard asks its own epoll which sockets have packets, and reads and
// writes them with raw system calls that never block. The sockets are not
// net.UDPConn, which would stay in Go's own poller and wake it for each packet.
// A raw call does not tell the scheduler that it is under way, which is right
// for calls that return at once; run sleeps or yields between ticks.

// port is one UDP socket.
type port struct {
	fd      int
	addr    netip.AddrPort
	stream  *Stream
	control bool           // RTCP
	peer    netip.AddrPort // connected to
	sa      sockaddr       // of whoever was read from or is written to
}

// sockaddr has room for an IPv6 socket address:
//
//	IPv4: family, port, address[4]
//	IPv6: family, port, flow[4], address[16], scope[4]
//
// The family is in the machine's byte order, port and address in the network's.
type sockaddr [unix.SizeofSockaddrInet6]byte

func (sa *sockaddr) set(a netip.AddrPort, v6 bool) (length uintptr) {
	binary.BigEndian.PutUint16(sa[2:], a.Port())
	if v6 {
		binary.NativeEndian.PutUint16(sa[:], unix.AF_INET6)
		clear(sa[4:8])
		*(*[16]byte)(sa[8:]) = a.Addr().As16()
		clear(sa[24:])
		return unix.SizeofSockaddrInet6
	}
	if !a.Addr().Is4() {
		return 0
	}
	binary.NativeEndian.PutUint16(sa[:], unix.AF_INET)
	*(*[4]byte)(sa[4:]) = a.Addr().As4()
	clear(sa[8:16])
	return unix.SizeofSockaddrInet4
}

func (sa *sockaddr) get() netip.AddrPort {
	port := binary.BigEndian.Uint16(sa[2:])
	if binary.NativeEndian.Uint16(sa[:]) == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(sa[8:24])).Unmap(), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), port)
}

// bindPort opens a socket on addr.
func bindPort(addr netip.AddrPort) (*port, error) {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()})
	if addr.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("udp socket: %w", err)
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind %v: %w", addr, err)
	}
	// Expedited forwarding (RFC 4594 §4.1) is a wish; networks may ignore it,
	// and so may the kernel.
	const ef = 46 << 2
	if family == unix.AF_INET {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, ef)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, ef)
	}
	return &port{fd: fd, addr: addr}, nil
}

func isAddrInUse(err error) bool { return errors.Is(err, unix.EADDRINUSE) }

func (p *port) close() {
	unix.Close(p.fd)
	p.fd = -1
}

// read takes one packet; ok is false when there is none. n is its true length,
// also when it did not fit. ECONNREFUSED, the peer's answer to an earlier packet
// of ours, is no packet: its phone may just be starting.
func (p *port) read(b []byte) (n int, from netip.AddrPort, ok bool) {
	length := uint32(len(p.sa))
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(p.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_TRUNC,
		uintptr(unsafe.Pointer(&p.sa)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return 0, from, false
	}
	return int(r), p.sa.get(), true
}

// write sends one packet; false: the kernel did not take it, and it is lost. An
// error that an earlier packet has left behind is cleared by the first try.
func (p *port) write(b []byte, to netip.AddrPort) bool {
	var sa, length uintptr
	if to != p.peer {
		if length = p.sa.set(to, p.addr.Addr().Is6()); length == 0 {
			return false
		}
	}
	for range 2 {
		if length > 0 {
			sa = uintptr(unsafe.Pointer(&p.sa)) // p is on the heap, which does not move
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(p.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL,
			sa, length)
		if errno != unix.ECONNREFUSED {
			return errno == 0
		}
	}
	return false
}

// connect lets the kernel drop what others send, and spares it a look at the
// routes with each packet. What was queued before is refused by the latch.
func (p *port) connect(to netip.AddrPort) {
	length := p.sa.set(to, p.addr.Addr().Is6())
	if length == 0 {
		return
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.sa)), length)
	if errno != 0 {
		p.dissolve() // all goes on unconnected
		return
	}
	p.peer = to
}

// dissolve undoes connect: packets come from anywhere again.
func (p *port) dissolve() {
	p.peer = netip.AddrPort{}
	clear(p.sa[:])
	binary.NativeEndian.PutUint16(p.sa[:], unix.AF_UNSPEC)
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.sa)), unix.SizeofSockaddrInet4)
}

// discard drops what has arrived so far, up to a bound in case more keeps
// coming.
func (p *port) discard() (n int) {
	var b [1]byte
	for n < 4096 {
		if _, _, ok := p.read(b[:]); !ok {
			break
		}
		n++
	}
	return n
}

// poller is a shard's epoll.
type poller struct {
	fd     int
	events [256]unix.EpollEvent
	list   [256]*port
	ports  []*port // by file descriptor
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &poller{fd: fd}, nil
}

func (p *poller) close() { unix.Close(p.fd) }

// add begins to watch a port. It fails only for lack of kernel memory; then
// nothing is heard, and the call ends by the timeout for silence.
func (p *poller) add(port *port) {
	for len(p.ports) <= port.fd {
		p.ports = append(p.ports, nil)
	}
	p.ports[port.fd] = port
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, port.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(port.fd)})
}

func (p *poller) remove(port *port) {
	p.ports[port.fd] = nil
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, port.fd, nil)
}

// ready gives the ports that have packets, valid until the next call. One packet
// is read from each before asking again: epoll is level-triggered and puts those
// that have more at the end of its list, so that all get their turn.
func (p *poller) ready() []*port {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), 0, 0, 0)
	if errno != 0 {
		return nil
	}
	list := p.list[:0]
	for _, e := range p.events[:r] {
		if port := p.ports[e.Fd]; port != nil {
			list = append(list, port)
		}
	}
	return list
}
