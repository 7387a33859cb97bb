package cni

import (
	"fmt"
	"os"
)

// Opt sets an option of a CNI, or loads a network into it.
type Opt func(c *config) error

// WithInterfacePrefix names interfaces after the prefix, such as eth. It counts for networks that are loaded after it.
func WithInterfacePrefix(prefix string) Opt {
	return func(c *config) error {
		c.prefix = prefix
		return nil
	}
}

// WithPluginDir is told again by GetConfig; netplumb runs no plugins.
func WithPluginDir(dirs []string) Opt {
	return func(c *config) error {
		c.pluginDirs = dirs
		return nil
	}
}

// WithPluginConfDir is told again by GetConfig; netplumb reads no configuration there.
func WithPluginConfDir(dir string) Opt {
	return func(c *config) error {
		c.pluginConfDir = dir
		return nil
	}
}

// WithPluginMaxConfNum is told again by GetConfig.
func WithPluginMaxConfNum(maximum int) Opt {
	return func(c *config) error {
		c.pluginMaxConfNum = maximum
		return nil
	}
}

// WithMinNetworkCount changes nothing: readiness is the daemon's, not that of files.
func WithMinNetworkCount(int) Opt {
	return func(*config) error { return nil }
}

// WithLoNetwork lists the loopback network. The daemon sets lo up with any interface.
func WithLoNetwork(c *config) error {
	c.networks = append(c.networks, network{
		ifName: loopback,
		conf:   &NetworkConfList{Name: "cni-loopback", CNIVersion: confVersion, Plugins: plugins("loopback")},
	})
	return nil
}

// WithDefaultConf loads the daemon's network as the first interface.
func WithDefaultConf(c *config) error {
	c.networks = append(c.networks, c.defaultNetwork())
	return nil
}

// WithAllConf loads the daemon's network as the first interface; there is one.
func WithAllConf(c *config) error {
	return WithDefaultConf(c)
}

// WithConf loads a network from a configuration, as the first interface.
func WithConf(bytes []byte) Opt {
	return WithConfIndex(bytes, 0)
}

// WithConfIndex loads a network from a configuration, as the interface with this number.
func WithConfIndex(bytes []byte, index int) Opt {
	return func(c *config) error {
		return c.addPlugin(bytes, index)
	}
}

// WithConfFile loads a network from a configuration file, as the first interface.
func WithConfFile(fileName string) Opt {
	return func(c *config) error {
		bytes, err := read(fileName)
		if err != nil {
			return err
		}
		return c.addPlugin(bytes, 0)
	}
}

// WithConfListBytes loads a network from a configuration list, as the next interface.
func WithConfListBytes(bytes []byte) Opt {
	return func(c *config) error {
		return c.addList(bytes)
	}
}

// WithConfListFile loads a network from a file with a configuration list, as the next interface.
func WithConfListFile(fileName string) Opt {
	return func(c *config) error {
		bytes, err := read(fileName)
		if err != nil {
			return err
		}
		return c.addList(bytes)
	}
}

func read(fileName string) ([]byte, error) {
	bytes, err := os.ReadFile(fileName)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRead, err)
	}
	return bytes, nil
}
