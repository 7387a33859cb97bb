package cni

import (
	"encoding/json"
	"net"
	"testing"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

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
