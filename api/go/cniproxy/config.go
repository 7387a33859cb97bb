package cni

import (
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

const (
	loopback    = "lo"
	confVersion = "1.0.0"
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
		conf:   &NetworkConfList{Name: "netplumb", CNIVersion: confVersion, Plugins: plugins("netplumb")},
	}
}

func (c *config) addPlugin(bytes []byte, index int) error {
	plugin, err := parsePlugin(bytes)
	if err != nil {
		return err
	}
	c.networks = append(c.networks, network{
		ifName: c.ifName(index),
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
	conf, err := parseList(bytes)
	if err != nil {
		return err
	}
	c.networks = append(c.networks, network{ifName: c.ifName(len(c.networks)), conf: conf})
	return nil
}

// ifNames names the interfaces that a workload gets.
func (c *config) ifNames() []string {
	var names []string
	for _, network := range c.networks {
		if network.ifName != loopback {
			names = append(names, network.ifName)
		}
	}
	if len(names) == 0 {
		return []string{c.ifName(0)}
	}
	return names
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
