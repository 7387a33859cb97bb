package cni

// The defaults of go-cni. The directories are only told again by GetConfig: nothing is read from them.
const (
	CNIPluginName        = "cni"
	DefaultNetDir        = "/etc/cni/net.d"
	DefaultCNIDir        = "/opt/cni/bin"
	VendorCNIDirTemplate = "%s/opt/%s/bin"
	DefaultMaxConfNum    = 1
	DefaultPrefix        = "eth"
)

// PortMapping is a port of the node that leads to the workload.
type PortMapping struct {
	HostPort      int32
	ContainerPort int32
	Protocol      string
	HostIP        string
}

// IPRanges is an address range that the runtime suggests. Addresses come from the daemon's pools all the same.
type IPRanges struct {
	Subnet     string
	RangeStart string
	RangeEnd   string
	Gateway    string
}

// BandWidth limits what the workload receives (ingress) and sends (egress): bits per second, and bits.
type BandWidth struct {
	IngressRate  uint64
	IngressBurst uint64
	EgressRate   uint64
	EgressBurst  uint64
}

// DNS is what the workload's resolver is to be told.
type DNS struct {
	Servers  []string
	Searches []string
	Options  []string
}

// CNIOpt is an Opt.
//
// Deprecated: use Opt.
type CNIOpt = Opt

// CNIResult is a Result.
//
// Deprecated: use Result.
type CNIResult = Result
