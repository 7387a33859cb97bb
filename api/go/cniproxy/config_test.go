package cni

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

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

// Pool and MTU of netplumb's own plugin reach the daemon; what other plugins say is theirs.
func TestTheOwnPluginsWishIsCarried(t *testing.T) {
	daemon := newFake(t)
	own := []byte(`{"name":"a","plugins":[{"type":"netplumb-cni","pool":"shop","mtu":1400},{"type":"tuning","mtu":9000}]}`)
	other := []byte(`{"name":"b","type":"bridge","mtu":9000,"pool":["not","ours"]}`)
	if _, err := newCNI(t, WithConfListBytes(own), WithConfIndex(other, 1)).SetupSerially(background, id, path); err != nil {
		t.Fatal(err)
	}
	got := daemon.attaches()
	if got[0].Pool != "shop" || got[0].Mtu != 1400 || got[1].Pool != "" || got[1].Mtu != 0 {
		t.Errorf("asked for %v", got)
	}
	if _, err := New(WithConf([]byte(`{"name":"c","type":"netplumb-cni","mtu":-1}`))); !IsInvalidConfig(err) {
		t.Errorf("a negative MTU: %v", err)
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
