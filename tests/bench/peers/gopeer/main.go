// Command gopeer does for a workload what netplumb does, in the plainest way: grpc-go and vishvananda/netlink, one
// call after the other. It keeps nothing, watches nothing and repairs nothing; it is what netplumb's cost is compared with.
package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"log"
	"net"
	"os"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"

	"netplumbv1"
)

const protocol, group = 78, 0x6e70

var (
	firstHopMAC    = net.HardwareAddr{2, 0x9c, 0x52, 0xfe, 0x6d, 0x0a}
	firstHops      = []net.IP{net.IPv4(169, 254, 77, 1).To4(), net.ParseIP("fe80::1")}
	nodeV4, nodeV6 = net.ParseIP("10.214.0.1").To4(), net.ParseIP("fd14::1")
	number         uint32
	anyV4, anyV6   = &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	scopes         = []netlink.Scope{netlink.SCOPE_LINK, netlink.SCOPE_UNIVERSE}
	onNode, _      = netlink.NewHandle(unix.NETLINK_ROUTE)
)

type server struct {
	netplumbv1.UnimplementedWorkloadNetworkingServer
}

func host(ip net.IP) *net.IPNet {
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(len(ip)*8, len(ip)*8)}
}

func nameOf(workload string) string {
	hash := fnv.New64a()
	hash.Write([]byte(workload))
	return fmt.Sprintf("np%012x", hash.Sum64()&0xffffffffffff)
}

func (server) Attach(_ context.Context, request *netplumbv1.AttachRequest) (*netplumbv1.AttachResponse, error) {
	namespace, err := netns.GetFromPath(request.Netns.NetnsPath)
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	inside, err := netlink.NewHandleAt(namespace, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer inside.Delete()
	n := atomic.AddUint32(&number, 1) + 1
	ips := []net.IP{{10, 214, byte(n >> 8), byte(n)}, append(net.IP{}, nodeV6...)}
	ips[1][14], ips[1][15] = byte(n>>8), byte(n)
	mac := net.HardwareAddr{2, 0, 0, 0, byte(n >> 8), byte(n)}
	return &netplumbv1.AttachResponse{Ip: [][]byte{ips[0], ips[1]}}, attach(inside, namespace, request.WorkloadId, ips, mac)
}

func attach(inside *netlink.Handle, namespace netns.NsHandle, workload string, ips []net.IP, mac net.HardwareAddr) error {
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: nameOf(workload), HardwareAddr: firstHopMAC, MTU: 1500, Group: group},
		PeerName:         "eth0",
		PeerHardwareAddr: mac,
		PeerNamespace:    netlink.NsFd(namespace),
	}
	if err := onNode.LinkAdd(veth); err != nil {
		return err
	}
	if err := onNode.LinkSetAlias(veth, "netplumb:eth0:"+workload); err != nil {
		return err
	}
	for _, name := range []string{"addr_gen_mode", "proxy_ndp", "forwarding"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+veth.Name+"/"+name, []byte("1"), 0); err != nil {
			return err
		}
	}
	if err := onNode.LinkSetUp(veth); err != nil {
		return err
	}
	proxy := &netlink.Neigh{LinkIndex: veth.Index, IP: firstHops[1], Flags: netlink.NTF_PROXY | netlink.NTF_ROUTER}
	if err := onNode.NeighSet(proxy); err != nil {
		return err
	}
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return err
	}
	for _, ip := range ips {
		address := &netlink.Addr{IPNet: host(ip), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
		if err := inside.AddrAdd(eth0, address); err != nil {
			return err
		}
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return err
	}
	for family, ip := range ips {
		permanent := func(index int, ip net.IP, mac net.HardwareAddr) *netlink.Neigh {
			return &netlink.Neigh{LinkIndex: index, IP: ip, HardwareAddr: mac, State: netlink.NUD_PERMANENT}
		}
		if err := onNode.NeighSet(permanent(veth.Index, ip, mac)); err != nil {
			return err
		}
		if err := inside.NeighSet(permanent(eth0.Attrs().Index, firstHops[family], firstHopMAC)); err != nil {
			return err
		}
		route := &netlink.Route{
			LinkIndex: veth.Index, Dst: host(ip), Src: []net.IP{nodeV4, nodeV6}[family], Scope: scopes[family], Protocol: protocol,
		}
		if err := onNode.RouteAdd(route); err != nil {
			return err
		}
		onLink := &netlink.Route{
			LinkIndex: eth0.Attrs().Index, Dst: host(firstHops[family]), Src: ip, Scope: scopes[family], Protocol: protocol,
		}
		if err := inside.RouteAdd(onLink); err != nil {
			return err
		}
		out := &netlink.Route{
			LinkIndex: eth0.Attrs().Index, Dst: []*net.IPNet{anyV4, anyV6}[family], Gw: firstHops[family], Src: ip, Protocol: protocol,
		}
		if err := inside.RouteAdd(out); err != nil {
			return err
		}
	}
	return nil
}

func (server) Detach(_ context.Context, request *netplumbv1.DetachRequest) (*netplumbv1.DetachResponse, error) {
	link, err := onNode.LinkByName(nameOf(request.WorkloadId))
	if err != nil {
		return nil, err
	}
	return &netplumbv1.DetachResponse{}, onNode.LinkDel(link)
}

// codec marshals with google.golang.org/protobuf; that of grpc-go before 1.34 does not know messages of its kind.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

func (codec) Unmarshal(data []byte, message interface{}) error {
	return proto.Unmarshal(data, message.(proto.Message))
}

func main() {
	encoding.RegisterCodec(codec{})
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer()
	netplumbv1.RegisterWorkloadNetworkingServer(serving, server{})
	log.Fatal(serving.Serve(listener))
}
