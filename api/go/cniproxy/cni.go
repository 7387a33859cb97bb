// Package cni stands in for github.com/containerd/go-cni: the same interface, with a netplumb daemon behind it in the
// place of plugin binaries.
//
// Each network that a program loads is one interface of a workload. What the networks are like (pools, MTU, routes) is
// the daemon's business, so a configuration that is handed over is told again by GetConfig and otherwise left alone; but
// for the pool and the MTU of netplumb's own plugin. None is needed: without one there is one network, on the first
// interface.
package cni

import (
	"context"
	"sync"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// CNI is what a container runtime uses.
type CNI interface {
	// Setup gives the namespace at path its interfaces, all at the same time.
	Setup(ctx context.Context, id string, path string, opts ...NamespaceOpts) (*Result, error)
	// SetupSerially gives the namespace at path its interfaces, one after the other.
	SetupSerially(ctx context.Context, id string, path string, opts ...NamespaceOpts) (*Result, error)
	// Remove takes the interfaces away. The path may be empty and the namespace gone; what is gone is no error.
	Remove(ctx context.Context, id string, path string, opts ...NamespaceOpts) error
	// Check reads the kernel and tells what of the interfaces is not as it was set up.
	Check(ctx context.Context, id string, path string, opts ...NamespaceOpts) error
	// Load replaces the networks.
	Load(opts ...Opt) error
	// Status asks the daemon whether it can set up networks. If not, IsCNINotInitialized tells so of the error.
	Status() error
	// GetConfig returns the options and networks as they were given.
	GetConfig() *ConfigResult
}

type client struct {
	daemon daemon

	mu sync.RWMutex // guards what options change; not held while the daemon is asked
	config
}

// New returns a CNI. The daemon need not run yet.
func New(opts ...Opt) (CNI, error) {
	c := &client{daemon: daemon{socketPath: socketPath()}, config: defaultConfig()}
	if err := c.config.apply(opts); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *client) Load(opts ...Opt) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config.load(opts)
}

func (c *client) Status() error {
	return c.daemon.status()
}

func (c *client) GetConfig() *ConfigResult {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.config.result()
}

func (c *client) Setup(ctx context.Context, id, path string, opts ...NamespaceOpts) (*Result, error) {
	ns, err := newNamespace(id, path, opts)
	if err != nil {
		return nil, err
	}
	networks := c.interfaces()
	results, failures := make([]*types100.Result, len(networks)), make([]error, len(networks))
	var all sync.WaitGroup
	for i := range networks {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			results[i], failures[i] = c.setup(ctx, ns, networks[i])
		}(i)
	}
	all.Wait()
	if err := firstOf(failures); err != nil {
		return nil, err
	}
	return newResult(results, c.firstIfName()), nil
}

func (c *client) SetupSerially(ctx context.Context, id, path string, opts ...NamespaceOpts) (*Result, error) {
	ns, err := newNamespace(id, path, opts)
	if err != nil {
		return nil, err
	}
	var results []*types100.Result
	for _, network := range c.interfaces() {
		result, err := c.setup(ctx, ns, network)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return newResult(results, c.firstIfName()), nil
}

func (c *client) setup(ctx context.Context, ns *Namespace, network network) (*types100.Result, error) {
	request, err := ns.attachRequest(network)
	if err != nil {
		return nil, err
	}
	answer, err := c.daemon.attach(ctx, request)
	if err != nil {
		return nil, err
	}
	return networkResult(request.Netns, answer)
}

// Remove goes on after an error, so that one interface that cannot go does not keep the others. It does not ask for
// Status first: a workload can be stopped on a node whose network is not ready.
func (c *client) Remove(ctx context.Context, id, path string, opts ...NamespaceOpts) error {
	ns, err := newNamespace(id, path, opts)
	if err != nil {
		return err
	}
	var failures []error
	for _, network := range c.interfaces() {
		failures = append(failures, c.daemon.detach(ctx, ns.detachRequest(network.ifName)))
	}
	return firstOf(failures)
}

func (c *client) Check(ctx context.Context, id, path string, opts ...NamespaceOpts) error {
	ns, err := newNamespace(id, path, opts)
	if err != nil {
		return err
	}
	for _, network := range c.interfaces() {
		if err := c.daemon.check(ctx, ns.checkRequest(network.ifName), ns.id); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) interfaces() []network {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.config.interfaces()
}

func (c *client) firstIfName() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.config.ifName(0)
}

func firstOf(failures []error) error {
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}
