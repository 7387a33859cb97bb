package cni

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

func init() {
	encoding.RegisterCodec(codec{}) // for the fake's side of the connection
}

// fake is a daemon that remembers what it was asked and answers what the test says.
type fake struct {
	netplumbv1.UnimplementedWorkloadNetworkingServer

	socket string
	server *grpc.Server

	mu     sync.Mutex
	asked  []proto.Message
	refuse map[string]error // by the method or the interface
	check  *netplumbv1.CheckResponse
	ready  bool

	together int // how many Attach calls wait for each other
	inside   int // of them are in progress
	most     int // at the same time
}

// newFake starts one, and makes its socket the one that New takes.
func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		socket: filepath.Join(t.TempDir(), "net.sock"),
		refuse: map[string]error{},
		check:  &netplumbv1.CheckResponse{InSync: true},
		ready:  true,
	}
	t.Setenv(SocketEnv, f.socket)
	f.start(t)
	t.Cleanup(f.stop)
	return f
}

func (f *fake) start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	f.server = grpc.NewServer()
	netplumbv1.RegisterWorkloadNetworkingServer(f.server, f)
	go f.server.Serve(listener) // ends with the server
}

func (f *fake) stop() { f.server.Stop() }

// meet returns when as many calls are in it as the test wants together.
func (f *fake) meet(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inside++
	defer func() { f.inside-- }()
	for {
		if f.inside > f.most {
			f.most = f.inside
		}
		if f.most >= f.together {
			return nil
		}
		f.mu.Unlock()
		time.Sleep(time.Millisecond)
		f.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// hear remembers a request, and refuses it, as the daemon itself does, if the test said so for one of the names.
func (f *fake) hear(ctx context.Context, request proto.Message, names ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, request)
	for _, name := range names {
		if err := f.refuse[name]; err != nil {
			grpc.SetTrailer(ctx, metadata.Pairs(answeredKey, "1"))
			return err
		}
	}
	return nil
}

func (f *fake) Attach(ctx context.Context, request *netplumbv1.AttachRequest) (*netplumbv1.AttachResponse, error) {
	if err := f.meet(ctx); err != nil {
		return nil, err
	}
	if err := f.hear(ctx, request, "Attach", request.Netns.IfName); err != nil {
		return nil, err
	}
	number := byte(2 + strings.Index("0123456789", request.Netns.IfName[len(request.Netns.IfName)-1:]))
	return &netplumbv1.AttachResponse{
		Ip: [][]byte{{10, 213, 0, number}, append(net.ParseIP("fd13::")[:15], number)},
		Attachment: &netplumbv1.Attachment{
			WorkloadId:   request.WorkloadId,
			IfName:       request.Netns.IfName,
			NetnsPath:    request.Netns.NetnsPath,
			Mac:          "0a:00:00:00:00:01",
			NodeIfName:   "npnode" + request.Netns.IfName,
			Dns:          request.Dns,
			Routes:       []*netplumbv1.Route{{Dst: "192.0.2.0/24"}},
			DefaultRoute: strings.HasSuffix(request.Netns.IfName, "0"),
			Gateways:     []string{"169.254.77.1", "fe80::1"},
		},
	}, nil
}

func (f *fake) Detach(ctx context.Context, request *netplumbv1.DetachRequest) (*netplumbv1.DetachResponse, error) {
	return &netplumbv1.DetachResponse{}, f.hear(ctx, request, "Detach", request.Netns.IfName)
}

func (f *fake) Check(ctx context.Context, request *netplumbv1.CheckRequest) (*netplumbv1.CheckResponse, error) {
	return f.check, f.hear(ctx, request, "Check")
}

func (f *fake) Status(ctx context.Context, request *netplumbv1.StatusRequest) (*netplumbv1.StatusResponse, error) {
	return &netplumbv1.StatusResponse{Ready: f.ready}, f.hear(ctx, request, "Status")
}

func (f *fake) attaches() (requests []*netplumbv1.AttachRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, asked := range f.asked {
		if request, ok := asked.(*netplumbv1.AttachRequest); ok {
			requests = append(requests, request)
		}
	}
	return requests
}

func (f *fake) detaches() (requests []*netplumbv1.DetachRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, asked := range f.asked {
		if request, ok := asked.(*netplumbv1.DetachRequest); ok {
			requests = append(requests, request)
		}
	}
	return requests
}

func newCNI(t *testing.T, opts ...Opt) CNI {
	t.Helper()
	c, err := New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func refusal(code codes.Code, message string) error {
	return status.Error(code, message)
}
