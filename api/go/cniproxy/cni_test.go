package cni

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

const (
	id   = "3f1e9a"
	path = "/run/netns/web"
)

var background = context.Background()

// podLabels are what containerd passes.
func podLabels(uid string) map[string]string {
	return map[string]string{
		"K8S_POD_NAMESPACE":          "shop",
		"K8S_POD_NAME":               "web-0",
		"K8S_POD_INFRA_CONTAINER_ID": id,
		"K8S_POD_UID":                uid,
		"IgnoreUnknown":              "1",
	}
}

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

// The result names the interfaces, and which addresses, gateways and routes they have.
func TestTheResultNamesInterfacesAndAddresses(t *testing.T) {
	newFake(t)
	dns := DNS{Servers: []string{"10.0.0.53"}, Searches: []string{"shop.example"}, Options: []string{"ndots:2"}}
	result, err := newCNI(t).Setup(background, id, path, WithCapabilityDNS(dns))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Interfaces":{` +
		`"eth0":{"IPConfigs":[{"IP":"10.213.0.2","Gateway":"169.254.77.1"},{"IP":"fd13::2","Gateway":"fe80::1"}],` +
		`"Mac":"0a:00:00:00:00:01","Sandbox":"/run/netns/web","PciID":"","SocketPath":""},` +
		`"npnodeeth0":{"IPConfigs":null,"Mac":"","Sandbox":"","PciID":"","SocketPath":""}},` +
		`"DNS":[{"nameservers":["10.0.0.53"],"search":["shop.example"],"options":["ndots:2"]}],` +
		`"Routes":[{"dst":"0.0.0.0/0","gw":"169.254.77.1"},{"dst":"::/0","gw":"fe80::1"},{"dst":"192.0.2.0/24"}]}`
	if string(got) != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
	if raw := result.Raw(); len(raw) != 1 || raw[0].IPs[0].Address.String() != "10.213.0.2/32" {
		t.Errorf("raw: %v", raw)
	}
	if !result.Interfaces["eth0"].IPConfigs[0].IP.Equal(net.IPv4(10, 213, 0, 2)) {
		t.Errorf("not an address: %v", result.Interfaces["eth0"].IPConfigs[0])
	}
}

const bridges = `{"cniVersion":"0.4.0","name":"%","plugins":[{"type":"bridge","bridge":"br0"},{"type":"portmap"}]}`

func list(name string) []byte { return []byte(strings.Replace(bridges, "%", name, 1)) }

// Every loaded network but loopback is an interface, named by the prefix.
func TestEachNetworkIsAnInterface(t *testing.T) {
	file := filepath.Join(t.TempDir(), "10-net.conflist")
	if err := os.WriteFile(file, list("back"), 0o600); err != nil {
		t.Fatal(err)
	}
	plugin := []byte(`{"cniVersion":"0.4.0","name":"front","type":"bridge"}`)
	for name, c := range map[string]struct {
		opts []Opt
		want []string
	}{
		"none":         {nil, []string{"eth0"}},
		"containerd's": {[]Opt{WithMinNetworkCount(2), WithLoNetwork, WithDefaultConf}, []string{"eth0"}},
		"loopback":     {[]Opt{WithLoNetwork}, []string{"eth0"}},
		"prefix":       {[]Opt{WithInterfacePrefix("net"), WithAllConf}, []string{"net0"}},
		"two lists":    {[]Opt{WithConfListBytes(list("front")), WithConfListFile(file)}, []string{"eth0", "eth1"}},
		"numbered":     {[]Opt{WithConf(plugin), WithConfIndex(plugin, 3)}, []string{"eth0", "eth3"}},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := newFake(t)
			result, err := newCNI(t, c.opts...).SetupSerially(background, id, path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, request := range daemon.attaches() {
				got = append(got, request.Netns.IfName)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("attached %v, not %v", got, c.want)
			}
			for _, ifName := range c.want {
				if len(result.Interfaces[ifName].IPConfigs) != 2 {
					t.Errorf("%s has not two addresses: %v", ifName, result.Interfaces[ifName])
				}
			}
		})
	}
}

// Setup asks for all interfaces at a time, SetupSerially for one after the other.
func TestSetupDoesNotWaitBetweenInterfaces(t *testing.T) {
	daemon := newFake(t)
	daemon.slow = 200 * time.Millisecond
	cni := newCNI(t, WithConfListBytes(list("a")), WithConfListBytes(list("b")), WithConfListBytes(list("c")), WithConfListBytes(list("d")))
	took := func(setup func(context.Context, string, string, ...NamespaceOpts) (*Result, error)) time.Duration {
		start := time.Now()
		if _, err := setup(background, id, path); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	if all, each := took(cni.Setup), took(cni.SetupSerially); all > each-daemon.slow || each < 4*daemon.slow {
		t.Errorf("all at a time took %v, one after the other %v", all, each)
	}
}

// What one interface is refused is the error of both ways to set up.
func TestARefusedInterfaceFailsSetup(t *testing.T) {
	daemon := newFake(t)
	daemon.refuse["eth1"] = refusal(codes.ResourceExhausted, "every address of pool 10.213.0.0/24 is held")
	cni := newCNI(t, WithConfListBytes(list("a")), WithConfListBytes(list("b")))
	for name, setup := range map[string]func(context.Context, string, string, ...NamespaceOpts) (*Result, error){
		"Setup": cni.Setup, "SetupSerially": cni.SetupSerially,
	} {
		result, err := setup(background, id, path)
		if result != nil || status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s: %v, %v", name, result, err)
		}
		const want = "attach 3f1e9a/eth1: every address of pool 10.213.0.0/24 is held (ResourceExhausted)"
		if err.Error() != want {
			t.Errorf("%s: %q, not %q", name, err, want)
		}
	}
}

// Remove takes the other interfaces away even if one cannot go, and asks nobody for readiness.
func TestRemoveGoesOnAfterAnError(t *testing.T) {
	daemon := newFake(t)
	daemon.refuse["eth0"] = refusal(codes.DeadlineExceeded, "link busy")
	daemon.refuse["Status"] = refusal(codes.Unavailable, "no pools")
	err := newCNI(t, WithConfListBytes(list("a")), WithConfListBytes(list("b"))).Remove(background, id, path)
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the error is %v", err)
	}
	if got := daemon.detaches(); len(got) != 2 || got[1].Netns.IfName != "eth1" || got[1].Netns.NetnsPath != path {
		t.Errorf("detached %v", got)
	}
	if len(daemon.asked) != 2 {
		t.Errorf("asked %v", daemon.asked)
	}
}

// Check tells what differs, who holds the interface now, and that there is none.
func TestCheckTellsWhatDiffers(t *testing.T) {
	daemon := newFake(t)
	cni := newCNI(t)
	if err := cni.Check(background, id, path); err != nil {
		t.Errorf("in sync: %v", err)
	}
	daemon.check = &netplumbv1.CheckResponse{Differences: []*netplumbv1.PlannedChange{{Verb: "+", Words: "route default via 169.254.77.1"}}}
	if err := cni.Check(background, id, path); err == nil || !strings.Contains(err.Error(), "+ route default via 169.254.77.1") {
		t.Errorf("differs: %v", err)
	}
	daemon.check = &netplumbv1.CheckResponse{InSync: true, Attachment: &netplumbv1.Attachment{ContainerId: "another"}}
	if err := cni.Check(background, id, path); !IsNotFound(err) || !strings.Contains(err.Error(), "another") {
		t.Errorf("another container: %v", err)
	}
	daemon.refuse["Check"] = refusal(codes.NotFound, "no attachment web/eth0")
	if err := cni.Check(background, id, path); !IsNotFound(err) {
		t.Errorf("not there: %v", err)
	}
}

// Status is the daemon's: ready, or not initialized for a reason.
func TestStatusIsTheDaemons(t *testing.T) {
	daemon := newFake(t)
	cni := newCNI(t, WithMinNetworkCount(5))
	if err := cni.Status(); err != nil {
		t.Errorf("ready: %v", err)
	}
	daemon.ready = false
	if err := cni.Status(); !IsCNINotInitialized(err) {
		t.Errorf("not ready: %v", err)
	}
	daemon.refuse["Status"] = refusal(codes.Unavailable, "no pools")
	if err := cni.Status(); !IsCNINotInitialized(err) || !strings.Contains(err.Error(), "no pools") {
		t.Errorf("no pools: %v", err)
	}
	daemon.stop()
	start := time.Now()
	if err := cni.Status(); !IsCNINotInitialized(err) || !strings.Contains(err.Error(), daemon.socket) {
		t.Errorf("no daemon: %v", err)
	}
	if took := time.Since(start); took > statusTimeout/2 {
		t.Errorf("told after %v that there is no daemon", took)
	}
	daemon.refuse, daemon.ready = nil, true
	daemon.start(t)
	for end := time.Now().Add(10 * time.Second); cni.Status() != nil; time.Sleep(retryInterval) {
		if time.Now().After(end) {
			t.Fatal("the daemon is back and Status does not notice")
		}
	}
}

// A daemon that restarts is waited for; one that is away for longer, or for longer than the caller has, is an error.
func TestARestartIsWaitedFor(t *testing.T) {
	daemon := newFake(t)
	cni := newCNI(t)
	if _, err := cni.Setup(background, id, path); err != nil {
		t.Fatal(err)
	}
	daemon.stop()
	soon, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	if err := cni.Remove(soon, id, path); err == nil || time.Now().Before(mustDeadline(t, soon)) {
		t.Errorf("within 200 ms: %v", err)
	}
	restarted := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() {
		daemon.start(t)
		close(restarted)
	})
	if err := cni.Remove(background, id, path); err != nil {
		t.Errorf("with the daemon back: %v", err)
	}
	<-restarted
}

func mustDeadline(t *testing.T, ctx context.Context) time.Time {
	t.Helper()
	deadline, ok := ctx.Deadline()
	if !ok {
		t.Fatal("no deadline")
	}
	return deadline
}

// UNAVAILABLE that the daemon itself says is an answer, and is not asked for again.
func TestTheDaemonsOwnWordIsFinal(t *testing.T) {
	daemon := newFake(t)
	daemon.refuse["Attach"] = refusal(codes.Unavailable, "no pools")
	_, err := newCNI(t).Setup(background, id, path)
	if !IsCNINotInitialized(err) || len(daemon.attaches()) != 1 {
		t.Errorf("asked %d times: %v", len(daemon.attaches()), err)
	}
}

// GetConfig tells what was loaded; Load replaces it, and a Load that fails changes nothing.
func TestGetConfigTellsWhatWasLoaded(t *testing.T) {
	cni := newCNI(t, WithPluginDir([]string{"/x"}), WithPluginConfDir("/y"), WithPluginMaxConfNum(2), WithConfListBytes(list("front")))
	config := cni.GetConfig()
	if config.PluginDirs[0] != "/x" || config.PluginConfDir != "/y" || config.PluginMaxConfNum != 2 || config.Prefix != "eth" {
		t.Errorf("options: %+v", config)
	}
	front := config.Networks[0]
	if front.IFName != "eth0" || front.Config.Name != "front" || front.Config.CNIVersion != "0.4.0" || front.Config.Source != string(list("front")) {
		t.Errorf("network: %+v", front)
	}
	if plugin := front.Config.Plugins[0]; plugin.Network.Type != "bridge" || !strings.Contains(plugin.Source, `"br0"`) {
		t.Errorf("plugin: %+v", plugin)
	}
	if _, err := json.Marshal(config); err != nil {
		t.Error(err)
	}
	for name, opt := range map[string]Opt{
		"no JSON":    WithConfListBytes([]byte("{")),
		"no plugins": WithConfListBytes([]byte(`{"name":"x"}`)),
		"no type":    WithConf([]byte(`{"name":"x"}`)),
		"no file":    WithConfFile("/nowhere"),
		"no list":    WithConfListFile("/nowhere"),
	} {
		if err := cni.Load(WithInterfacePrefix("net"), opt); !errors.Is(err, ErrLoad) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(opt); !IsInvalidConfig(err) && !IsReadFailure(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := cni.GetConfig(); !reflect.DeepEqual(got, config) {
		t.Errorf("after a Load that failed: %+v", got)
	}
	if err := cni.Load(WithLoNetwork, WithDefaultConf); err != nil {
		t.Fatal(err)
	}
	if got := cni.GetConfig().Networks; len(got) != 2 || got[0].IFName != "lo" || got[1].IFName != "eth0" {
		t.Errorf("after Load: %+v", got)
	}
}

// An answer that has no place in a result is an error.
func TestAnAnswerThatIsNoAddressIsAnError(t *testing.T) {
	for name, answer := range map[string]*netplumbv1.AttachResponse{
		"five bytes": {Ip: [][]byte{{1, 2, 3, 4, 5}}},
		"no prefix":  {Attachment: &netplumbv1.Attachment{Routes: []*netplumbv1.Route{{Dst: "somewhere"}}}},
	} {
		if _, err := networkResult(&netplumbv1.NetNSAttachment{IfName: "eth0"}, answer); !IsInvalidResult(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
