package cni

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

// Names that runtimes pass things by.
const (
	podUIDLabel        = "K8S_POD_UID"
	ignoreUnknownLabel = "IgnoreUnknown" // said to plugins
	ipArg              = "IP"
	macArg             = "MAC"

	annotationsCapability  = "io.kubernetes.cri.pod-annotations"
	bandwidthCapability    = "bandwidth"
	cgroupPathCapability   = "cgroupPath"
	dnsCapability          = "dns"
	ipRangesCapability     = "ipRanges"
	ipsCapability          = "ips"
	macCapability          = "mac"
	portMappingsCapability = "portMappings"
)

// NamespaceOpts says more of a workload.
type NamespaceOpts func(ns *Namespace) error

// WithCapabilityPortMap maps ports of the node to the workload.
func WithCapabilityPortMap(portMapping []PortMapping) NamespaceOpts {
	return WithCapability(portMappingsCapability, portMapping)
}

// WithCapabilityIPRanges changes nothing: addresses come from the daemon's pools.
func WithCapabilityIPRanges(ipRanges []IPRanges) NamespaceOpts {
	return WithCapability(ipRangesCapability, ipRanges)
}

// WithCapabilityBandWidth limits the workload's traffic.
func WithCapabilityBandWidth(bandWidth BandWidth) NamespaceOpts {
	return WithCapability(bandwidthCapability, bandWidth)
}

// WithCapabilityDNS is recorded, and given back with the result.
func WithCapabilityDNS(dns DNS) NamespaceOpts {
	return WithCapability(dnsCapability, dns)
}

// WithCapabilityCgroupPath reaches the daemon as the annotation cgroupPath.
func WithCapabilityCgroupPath(cgroupPath string) NamespaceOpts {
	return WithCapability(cgroupPathCapability, cgroupPath)
}

// WithCapability sets a capability by the name that CNI's conventions give it.
func WithCapability(name string, capability interface{}) NamespaceOpts {
	return func(ns *Namespace) error {
		ns.capabilities[name] = capability
		return nil
	}
}

// WithLabels sets labels.
func WithLabels(labels map[string]string) NamespaceOpts {
	return func(ns *Namespace) error {
		for key, value := range labels {
			ns.labels[key] = value
		}
		return nil
	}
}

// WithArgs sets one label. IP and MAC, as CNI_ARGS has them, ask for an address.
func WithArgs(key, value string) NamespaceOpts {
	return WithLabels(map[string]string{key: value})
}

// Namespace is a workload as a runtime describes it.
type Namespace struct {
	id           string
	path         string
	labels       map[string]string
	capabilities map[string]interface{}
}

func newNamespace(id, path string, opts []NamespaceOpts) (*Namespace, error) {
	ns := &Namespace{id: id, path: path, labels: map[string]string{}, capabilities: map[string]interface{}{}}
	for _, opt := range opts {
		if err := opt(ns); err != nil {
			return nil, err
		}
	}
	return ns, nil
}

// workloadID is the pod's where there is one: its network then outlives the sandbox.
func (ns *Namespace) workloadID() string {
	if uid := ns.labels[podUIDLabel]; uid != "" {
		return uid
	}
	return ns.id
}

func (ns *Namespace) netns(ifName string) *netplumbv1.NetNSAttachment {
	return &netplumbv1.NetNSAttachment{NetnsPath: ns.path, IfName: ifName}
}

func (ns *Namespace) detachRequest(ifName string) *netplumbv1.DetachRequest {
	return &netplumbv1.DetachRequest{WorkloadId: ns.workloadID(), Netns: ns.netns(ifName), ContainerId: ns.id}
}

func (ns *Namespace) checkRequest(ifName string) *netplumbv1.CheckRequest {
	return &netplumbv1.CheckRequest{WorkloadId: ns.workloadID(), IfName: ifName}
}

func (ns *Namespace) attachRequest(network network) (*netplumbv1.AttachRequest, error) {
	request := &netplumbv1.AttachRequest{
		WorkloadId:  ns.workloadID(),
		Netns:       ns.netns(network.ifName),
		ContainerId: ns.id,
		Labels:      map[string]string{},
		Annotations: ns.annotations(),
		Pool:        network.wish.Pool,
		Mtu:         network.wish.MTU,
	}
	for key, value := range ns.labels {
		switch key {
		case ignoreUnknownLabel:
		case ipArg:
			request.Addresses = addresses(strings.Split(value, ","))
		case macArg:
			request.Mac = value
		default:
			request.Labels[key] = value
		}
	}
	return request, ns.addCapabilities(request)
}

func (ns *Namespace) addCapabilities(request *netplumbv1.AttachRequest) error {
	var (
		ports     []PortMapping
		bandwidth *BandWidth
		dns       *DNS
		ips       []string
	)
	for name, into := range map[string]interface{}{
		portMappingsCapability: &ports,
		bandwidthCapability:    &bandwidth,
		dnsCapability:          &dns,
		ipsCapability:          &ips,
		macCapability:          &request.Mac,
	} {
		if err := ns.capability(name, into); err != nil {
			return err
		}
	}
	for _, port := range ports {
		if port.HostPort <= 0 {
			continue // a port that the workload listens on, and nothing more
		}
		request.PortMappings = append(request.PortMappings, &netplumbv1.PortMapping{
			HostPort:      uint32(port.HostPort),
			ContainerPort: uint32(port.ContainerPort),
			Protocol:      strings.ToLower(port.Protocol),
			HostIp:        port.HostIP,
		})
	}
	if bandwidth != nil {
		request.Bandwidth = &netplumbv1.Bandwidth{
			IngressRate:  bandwidth.IngressRate,
			IngressBurst: bandwidth.IngressBurst,
			EgressRate:   bandwidth.EgressRate,
			EgressBurst:  bandwidth.EgressBurst,
		}
	}
	if dns != nil {
		request.Dns = &netplumbv1.DNS{Servers: dns.Servers, Searches: dns.Searches, Options: dns.Options}
	}
	if len(ips) > 0 {
		request.Addresses = addresses(ips)
	}
	return nil
}

// capability reads one through JSON, as it would reach a plugin: a runtime may pass types of its own.
func (ns *Namespace) capability(name string, into interface{}) error {
	value, ok := ns.capabilities[name]
	if !ok {
		return nil
	}
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("%w: capability %s: %v", ErrInvalidConfig, name, err)
	}
	return nil
}

// annotations are the pod's, and the cgroup path, which has no field of its own. People write what they like there, and
// the daemon keeps what its settings allow: what cannot be read is left out, and fails nothing.
func (ns *Namespace) annotations() map[string]string {
	annotations := map[string]string{}
	var pod map[string]string
	_ = ns.capability(annotationsCapability, &pod)
	for key, value := range pod {
		annotations[strings.ToValidUTF8(key, "\uFFFD")] = strings.ToValidUTF8(value, "\uFFFD")
	}
	var cgroupPath string
	if _ = ns.capability(cgroupPathCapability, &cgroupPath); cgroupPath != "" {
		annotations[cgroupPathCapability] = cgroupPath
	}
	return annotations
}

// addresses takes off the prefix lengths, which CNI's conventions allow: here each address stands alone.
func addresses(texts []string) []string {
	var alone []string
	for _, text := range texts {
		address, _, _ := strings.Cut(strings.TrimSpace(text), "/")
		alone = append(alone, address)
	}
	return alone
}
