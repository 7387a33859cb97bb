package cni

import (
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

// Result is what a workload was given.
type Result struct {
	// Interfaces by name, the node's ends among them. The first interface is always there.
	Interfaces map[string]*Config
	// DNS of each network.
	DNS []types.DNS
	// Routes of all networks.
	Routes []*types.Route
	raw    []*types100.Result
}

// Raw returns the result of each network, as a plugin would have given it.
func (r *Result) Raw() []*types100.Result {
	return r.raw
}

// Config is an interface. Sandbox is the path of its network namespace; the node's end of it has none.
type Config struct {
	IPConfigs  []*IPConfig
	Mac        string
	Sandbox    string
	PciID      string
	SocketPath string
}

// IPConfig is an address of an interface.
type IPConfig struct {
	IP      net.IP
	Gateway net.IP
}

// newResult puts the networks' results together. The first interface is in it in any case, as callers of go-cni expect.
func newResult(results []*types100.Result, firstIfName string) *Result {
	r := &Result{Interfaces: map[string]*Config{firstIfName: {}}, raw: results}
	for _, result := range results {
		for _, iface := range result.Interfaces {
			r.Interfaces[iface.Name] = &Config{Mac: iface.Mac, Sandbox: iface.Sandbox}
		}
		for _, ip := range result.IPs {
			config := r.Interfaces[result.Interfaces[*ip.Interface].Name]
			config.IPConfigs = append(config.IPConfigs, &IPConfig{IP: ip.Address.IP, Gateway: ip.Gateway})
		}
		r.DNS = append(r.DNS, result.DNS)
		r.Routes = append(r.Routes, result.Routes...)
	}
	return r
}

// networkResult says the daemon's answer in CNI's words.
func networkResult(netns *netplumbv1.NetNSAttachment, answer *netplumbv1.AttachResponse) (*types100.Result, error) {
	attachment := answer.GetAttachment()
	result := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{{Name: netns.IfName, Mac: attachment.GetMac(), Sandbox: netns.NetnsPath}},
		DNS: types.DNS{
			Nameservers: attachment.GetDns().GetServers(),
			Search:      attachment.GetDns().GetSearches(),
			Options:     attachment.GetDns().GetOptions(),
		},
	}
	if name := attachment.GetNodeIfName(); name != "" {
		result.Interfaces = append(result.Interfaces, &types100.Interface{Name: name})
	}
	for _, ip := range answer.GetIp() {
		if len(ip) != net.IPv4len && len(ip) != net.IPv6len {
			return nil, fmt.Errorf("%w: an address of %d bytes", ErrInvalidResult, len(ip))
		}
		bits := 8 * len(ip)
		gateway := gatewayFor(ip, attachment.GetGateways())
		result.IPs = append(result.IPs, &types100.IPConfig{
			Interface: types100.Int(0),
			Address:   net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)},
			Gateway:   gateway,
		})
		if gateway != nil && attachment.GetDefaultRoute() {
			everywhere := net.IPNet{IP: make(net.IP, len(ip)), Mask: net.CIDRMask(0, bits)}
			result.Routes = append(result.Routes, &types.Route{Dst: everywhere, GW: gateway})
		}
	}
	for _, route := range attachment.GetRoutes() {
		_, dst, err := net.ParseCIDR(route.Dst)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrInvalidResult, err)
		}
		result.Routes = append(result.Routes, &types.Route{Dst: *dst, GW: net.ParseIP(route.Gw)})
	}
	return result, nil
}

// gatewayFor picks the first hop of the address's family.
func gatewayFor(ip net.IP, gateways []string) net.IP {
	for _, text := range gateways {
		gateway := net.ParseIP(text)
		if v4 := gateway.To4(); v4 != nil {
			gateway = v4
		}
		if len(gateway) == len(ip) {
			return gateway
		}
	}
	return nil
}
