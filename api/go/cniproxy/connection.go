package cni

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/local"
	"google.golang.org/protobuf/proto"
)

const retryInterval = 50 * time.Millisecond

// connections holds one connection for each socket, for good: a CNI has no end at which its own could be closed.
var connections = struct {
	sync.Mutex
	bySocket map[string]*grpc.ClientConn
}{bySocket: map[string]*grpc.ClientConn{}}

func connection(socketPath string) (*grpc.ClientConn, error) {
	connections.Lock()
	defer connections.Unlock()
	if conn, ok := connections.bySocket[socketPath]; ok {
		return conn, nil
	}
	conn, err := grpc.Dial(
		"passthrough:///netplumb",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socketPath)
		}),
		grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(local.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: retryInterval, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 10 * retryInterval},
		}),
	)
	if err == nil {
		connections.bySocket[socketPath] = conn
	}
	return conn, err
}

// codec marshals with google.golang.org/protobuf; that of grpc-go before 1.34 does not know messages of its kind.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

func (codec) Unmarshal(data []byte, message interface{}) error {
	return proto.Unmarshal(data, message.(proto.Message))
}
