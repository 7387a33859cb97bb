// gocni is a container runtime's use of go-cni, driven by a test: one request a line on stdin, one answer a line on
// stdout. It knows nothing of netplumb, and is built against whichever package the GOPATH has as go-cni.
package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	cni "github.com/containerd/go-cni"
)

type request struct {
	Call         string
	ID           string
	Path         string
	TimeoutMS    int
	Labels       map[string]string
	PortMappings []cni.PortMapping
	BandWidth    *cni.BandWidth
	DNS          *cni.DNS
	Capabilities map[string]interface{}
	ConfLists    []json.RawMessage
	Prefix       string
}

type answer struct {
	Error          string
	NotInitialized bool
	NotFound       bool
	Result         *cni.Result
	Config         *cni.ConfigResult
}

func main() {
	network, err := cni.New(cni.WithMinNetworkCount(2), cni.WithPluginConfDir("/nowhere"), cni.WithPluginDir([]string{"/nowhere"}))
	if err != nil {
		panic(err)
	}
	requests, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked request
		if err := requests.Decode(&asked); err != nil {
			return // the test is over
		}
		var said answer
		if err := carryOut(network, asked, &said); err != nil {
			said.Error = err.Error()
			said.NotInitialized = cni.IsCNINotInitialized(err)
			said.NotFound = cni.IsNotFound(err)
		}
		if err := answers.Encode(said); err != nil {
			panic(err)
		}
	}
}

func carryOut(network cni.CNI, asked request, said *answer) (err error) {
	ctx := context.Background()
	if asked.TimeoutMS > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(asked.TimeoutMS)*time.Millisecond)
		defer cancel()
	}
	opts := namespaceOpts(asked)
	switch asked.Call {
	case "setup":
		said.Result, err = network.Setup(ctx, asked.ID, asked.Path, opts...)
	case "setup serially":
		said.Result, err = network.SetupSerially(ctx, asked.ID, asked.Path, opts...)
	case "remove":
		err = network.Remove(ctx, asked.ID, asked.Path, opts...)
	case "check":
		err = network.Check(ctx, asked.ID, asked.Path, opts...)
	case "status":
		err = network.Status()
	case "load":
		err = network.Load(loadOpts(asked)...)
	case "config":
		said.Config = network.GetConfig()
	default:
		panic("no such call: " + asked.Call)
	}
	return err
}

func namespaceOpts(asked request) []cni.NamespaceOpts {
	opts := []cni.NamespaceOpts{cni.WithLabels(asked.Labels)}
	if asked.PortMappings != nil {
		opts = append(opts, cni.WithCapabilityPortMap(asked.PortMappings))
	}
	if asked.BandWidth != nil {
		opts = append(opts, cni.WithCapabilityBandWidth(*asked.BandWidth))
	}
	if asked.DNS != nil {
		opts = append(opts, cni.WithCapabilityDNS(*asked.DNS))
	}
	for name, capability := range asked.Capabilities {
		opts = append(opts, cni.WithCapability(name, capability))
	}
	return opts
}

func loadOpts(asked request) []cni.Opt {
	var opts []cni.Opt
	if asked.Prefix != "" {
		opts = append(opts, cni.WithInterfacePrefix(asked.Prefix))
	}
	if asked.ConfLists == nil {
		opts = append(opts, cni.WithLoNetwork, cni.WithDefaultConf)
	}
	for _, list := range asked.ConfLists {
		opts = append(opts, cni.WithConfListBytes(list))
	}
	return opts
}
