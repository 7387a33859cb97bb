package cni

import (
	"encoding/json"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

const (
	loopback    = "lo"
	confVersion = "1.0.0"
	ownPlugin   = "netplumb-cni"
)

// ConfigResult tells the options and networks of a CNI.
type ConfigResult struct {
	PluginDirs       []string
	PluginConfDir    string
	PluginMaxConfNum int
	Prefix           string
	Networks         []*ConfNetwork
}

// ConfNetwork is a network, and the interface that it gives a workload.
type ConfNetwork struct {
	Config *NetworkConfList
	IFName string
}

// NetworkConfList is a network's configuration.
type NetworkConfList struct {
	Name       string
	CNIVersion string
	Plugins    []*NetworkConf
	Source     string
}

// NetworkConf is the configuration of one plugin.
type NetworkConf struct {
	Network *types.NetConf
	Source  string
}

type config struct {
	pluginDirs       []string
	pluginConfDir    string
	pluginMaxConfNum int
	prefix           string
	networks         []network
}

type network struct {
	ifName string
	conf   *NetworkConfList
	wish   wish
}

// wish is what the configuration of netplumb's own CNI plugin may say of an interface.
type wish struct {
	Pool string
	MTU  uint32
}

func defaultConfig() config {
	return config{
		pluginDirs:       []string{DefaultCNIDir},
		pluginConfDir:    DefaultNetDir,
		pluginMaxConfNum: DefaultMaxConfNum,
		prefix:           DefaultPrefix,
	}
}

func (c *config) apply(opts []Opt) error {
	for _, opt := range opts {
		if err := opt(c); err != nil {
			return err
		}
	}
	return nil
}

// load changes nothing when it fails.
func (c *config) load(opts []Opt) error {
	loaded := *c
	loaded.networks = nil
	if err := loaded.apply(opts); err != nil {
		return fmt.Errorf("%w: %v", ErrLoad, err)
	}
	*c = loaded
	return nil
}

func (c *config) ifName(index int) string {
	return fmt.Sprintf("%s%d", c.prefix, index)
}

func (c *config) defaultNetwork() network {
	return network{
		ifName: c.ifName(0),
		conf:   &NetworkConfList{Name: "netplumb", CNIVersion: confVersion, Plugins: plugins(ownPlugin)},
	}
}

func (c *config) addPlugin(bytes []byte, index int) error {
	plugin, wish, err := parsePlugin(bytes)
	if err != nil {
		return err
	}
	c.networks = append(c.networks, network{
		ifName: c.ifName(index),
		wish:   wish,
		conf: &NetworkConfList{
			Name:       plugin.Network.Name,
			CNIVersion: plugin.Network.CNIVersion,
			Plugins:    []*NetworkConf{plugin},
			Source:     string(bytes),
		},
	})
	return nil
}

func (c *config) addList(bytes []byte) error {
	conf, wish, err := parseList(bytes)
	if err != nil {
		return err
	}
	c.networks = append(c.networks, network{ifName: c.ifName(len(c.networks)), conf: conf, wish: wish})
	return nil
}

// interfaces are the networks that give a workload an interface.
func (c *config) interfaces() []network {
	var interfaces []network
	for _, network := range c.networks {
		if network.ifName != loopback {
			interfaces = append(interfaces, network)
		}
	}
	if len(interfaces) == 0 {
		return []network{c.defaultNetwork()}
	}
	return interfaces
}

func (c *config) result() *ConfigResult {
	result := &ConfigResult{
		PluginDirs:       append([]string(nil), c.pluginDirs...),
		PluginConfDir:    c.pluginConfDir,
		PluginMaxConfNum: c.pluginMaxConfNum,
		Prefix:           c.prefix,
	}
	for _, network := range c.networks {
		result.Networks = append(result.Networks, &ConfNetwork{Config: network.conf, IFName: network.ifName})
	}
	return result
}

func plugins(kind string) []*NetworkConf {
	return []*NetworkConf{{Network: &types.NetConf{Type: kind}}}
}

// parsePlugin also reads what is meant for the daemon, if the plugin is netplumb's.
func parsePlugin(bytes []byte) (*NetworkConf, wish, error) {
	plugin, asked := &NetworkConf{Network: &types.NetConf{}, Source: string(bytes)}, wish{}
	if err := json.Unmarshal(bytes, plugin.Network); err != nil {
		return nil, asked, fmt.Errorf("%w: %v", ErrInvalidConfig, err)
	}
	switch plugin.Network.Type {
	case "":
		return nil, asked, fmt.Errorf("%w: a plugin has no type", ErrInvalidConfig)
	case ownPlugin:
		if err := json.Unmarshal(bytes, &asked); err != nil {
			return nil, asked, fmt.Errorf("%w: %v", ErrInvalidConfig, err)
		}
	}
	return plugin, asked, nil
}

func parseList(bytes []byte) (*NetworkConfList, wish, error) {
	var (
		list struct {
			Name       string
			CNIVersion string
			Plugins    []json.RawMessage
		}
		asked wish
	)
	if err := json.Unmarshal(bytes, &list); err != nil {
		return nil, asked, fmt.Errorf("%w: %v", ErrInvalidConfig, err)
	}
	if list.Name == "" || len(list.Plugins) == 0 {
		return nil, asked, fmt.Errorf("%w: a list needs a name and plugins", ErrInvalidConfig)
	}
	conf := &NetworkConfList{Name: list.Name, CNIVersion: list.CNIVersion, Source: string(bytes)}
	for _, raw := range list.Plugins {
		plugin, said, err := parsePlugin(raw)
		if err != nil {
			return nil, asked, err
		}
		if said != (wish{}) {
			asked = said
		}
		conf.Plugins = append(conf.Plugins, plugin)
	}
	return conf, asked, nil
}
