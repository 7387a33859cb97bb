package cni

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

// What containerd says of a pod reaches the daemon, each thing in its field.
func TestSetupCarriesAllThatIsSaid(t *testing.T) {
	daemon := newFake(t)
	_, err := newCNI(t).Setup(background, id, path,
		WithLabels(podLabels("uid-7")),
		WithCapability("io.kubernetes.cri.pod-annotations", map[string]string{"shop.example/tier": "front"}),
		WithCapabilityPortMap([]PortMapping{
			{HostPort: 8080, ContainerPort: 80, Protocol: "TCP", HostIP: "192.0.2.1"},
			{ContainerPort: 9090, Protocol: "tcp"},
		}),
		WithCapabilityBandWidth(BandWidth{IngressRate: 1, IngressBurst: 2, EgressRate: 3, EgressBurst: 4}),
		WithCapabilityDNS(DNS{Servers: []string{"10.0.0.53"}, Searches: []string{"shop.example"}, Options: []string{"ndots:2"}}),
		WithCapabilityIPRanges([]IPRanges{{Subnet: "10.9.0.0/24"}}),
		WithCapabilityCgroupPath("/pods/web"),
		WithCapability("ips", []string{"10.213.0.9/24", "fd13::9"}),
		WithCapability("mac", "02:00:5e:10:00:01"),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := &netplumbv1.AttachRequest{
		WorkloadId:  "uid-7",
		Netns:       &netplumbv1.NetNSAttachment{NetnsPath: path, IfName: "eth0"},
		ContainerId: id,
		Labels: map[string]string{
			"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "web-0", "K8S_POD_INFRA_CONTAINER_ID": id, "K8S_POD_UID": "uid-7",
		},
		Annotations:  map[string]string{"shop.example/tier": "front", "cgroupPath": "/pods/web"},
		PortMappings: []*netplumbv1.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp", HostIp: "192.0.2.1"}},
		Bandwidth:    &netplumbv1.Bandwidth{IngressRate: 1, IngressBurst: 2, EgressRate: 3, EgressBurst: 4},
		Dns: &netplumbv1.DNS{
			Servers: []string{"10.0.0.53"}, Searches: []string{"shop.example"}, Options: []string{"ndots:2"},
		},
		Addresses: []string{"10.213.0.9", "fd13::9"},
		Mac:       "02:00:5e:10:00:01",
	}
	if got := daemon.attaches(); len(got) != 1 || !proto.Equal(got[0], want) {
		t.Errorf("asked for\n%v\nnot\n%v", got, want)
	}
}

// The workload is the pod, or the container where there is no pod or its UID is empty.
func TestTheWorkloadIsThePodOrTheContainer(t *testing.T) {
	for name, c := range map[string]struct {
		opts []NamespaceOpts
		want string
	}{
		"pod":       {[]NamespaceOpts{WithLabels(podLabels("uid-7"))}, "uid-7"},
		"empty uid": {[]NamespaceOpts{WithLabels(podLabels(""))}, id},
		"arg":       {[]NamespaceOpts{WithArgs("K8S_POD_UID", "uid-8")}, "uid-8"},
		"container": {nil, id},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := newFake(t)
			cni := newCNI(t)
			if _, err := cni.Setup(background, id, path, c.opts...); err != nil {
				t.Fatal(err)
			}
			if err := cni.Remove(background, id, "", c.opts...); err != nil {
				t.Fatal(err)
			}
			if got := daemon.attaches()[0].WorkloadId; got != c.want {
				t.Errorf("attached %q, not %q", got, c.want)
			}
			want := &netplumbv1.DetachRequest{
				WorkloadId: c.want, Netns: &netplumbv1.NetNSAttachment{IfName: "eth0"}, ContainerId: id,
			}
			if got := daemon.detaches()[0]; !proto.Equal(got, want) {
				t.Errorf("detached %v, not %v", got, want)
			}
		})
	}
}

// IP and MAC of CNI_ARGS ask for addresses, and are no labels.
func TestArgsAskForAddresses(t *testing.T) {
	daemon := newFake(t)
	_, err := newCNI(t).Setup(background, id, path, WithArgs("IP", "10.213.0.9, fd13::9/64"), WithArgs("MAC", "02:00:5e:10:00:01"))
	if err != nil {
		t.Fatal(err)
	}
	got := daemon.attaches()[0]
	if !reflect.DeepEqual(got.Addresses, []string{"10.213.0.9", "fd13::9"}) || got.Mac != "02:00:5e:10:00:01" || len(got.Labels) > 0 {
		t.Errorf("asked for %v", got)
	}
}

// A runtime's own types serve as a capability, by the names that CNI's conventions give the fields.
func TestCapabilitiesMayHaveTypesOfTheRuntime(t *testing.T) {
	daemon := newFake(t)
	type port struct {
		HostPort      int    `json:"hostPort"`
		ContainerPort int    `json:"containerPort"`
		Protocol      string `json:"protocol"`
	}
	_, err := newCNI(t).Setup(background, id, path, WithCapability("portMappings", []port{{53, 5353, "udp"}}))
	if err != nil {
		t.Fatal(err)
	}
	want := &netplumbv1.PortMapping{HostPort: 53, ContainerPort: 5353, Protocol: "udp"}
	if got := daemon.attaches()[0].PortMappings; len(got) != 1 || !proto.Equal(got[0], want) {
		t.Errorf("asked for %v", got)
	}
	_, err = newCNI(t).Setup(background, id, path, WithCapability("portMappings", "all of them"))
	if !IsInvalidConfig(err) || !strings.Contains(err.Error(), "portMappings") {
		t.Errorf("another shape: %v", err)
	}
}

// Annotations fail no Setup: not large ones, not broken text, not another shape.
func TestAnnotationsFailNothing(t *testing.T) {
	for name, annotations := range map[string]interface{}{
		"large":       map[string]string{"a": strings.Repeat("x", 256<<10)},
		"broken text": map[string]string{"a\xff": "b\xff"},
		"none":        map[string]string(nil),
		"other shape": []int{1},
		"no JSON":     make(chan int),
	} {
		t.Run(name, func(t *testing.T) {
			newFake(t)
			_, err := newCNI(t).Setup(background, id, path, WithCapability("io.kubernetes.cri.pod-annotations", annotations))
			if err != nil {
				t.Error(err)
			}
		})
	}
}
