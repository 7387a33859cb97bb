package cni

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

// The daemon's socket is the one that the variable SocketEnv names, else DefaultSocket.
const (
	SocketEnv     = "NETPLUMB_SOCKET"
	DefaultSocket = "/run/netplumb/workloadnet.sock"
)

const (
	// Every call may be repeated, so one that finds no daemon waits for a restart to be over.
	restartPatience = 5 * time.Second
	statusTimeout   = 5 * time.Second

	// Trailing metadata of every status that the daemon gave: gRPC makes UNAVAILABLE of a broken connection too.
	answeredKey = "netplumb-answered"
)

func socketPath() string {
	if path := os.Getenv(SocketEnv); path != "" {
		return path
	}
	return DefaultSocket
}

type daemon struct {
	socketPath string
}

func (d daemon) attach(ctx context.Context, request *netplumbv1.AttachRequest) (*netplumbv1.AttachResponse, error) {
	doing := fmt.Sprintf("attach %s/%s", request.WorkloadId, request.Netns.IfName)
	return call(ctx, d, doing, restartPatience, netplumbv1.WorkloadNetworkingClient.Attach, request)
}

func (d daemon) detach(ctx context.Context, request *netplumbv1.DetachRequest) error {
	doing := fmt.Sprintf("detach %s/%s", request.WorkloadId, request.Netns.IfName)
	_, err := call(ctx, d, doing, restartPatience, netplumbv1.WorkloadNetworkingClient.Detach, request)
	return err
}

// check also fails when another container of the same workload has taken the interface over.
func (d daemon) check(ctx context.Context, request *netplumbv1.CheckRequest, containerID string) error {
	doing := fmt.Sprintf("check %s/%s", request.WorkloadId, request.IfName)
	answer, err := call(ctx, d, doing, restartPatience, netplumbv1.WorkloadNetworkingClient.Check, request)
	if err != nil {
		return err
	}
	if holder := answer.GetAttachment().GetContainerId(); holder != "" && holder != containerID {
		return fmt.Errorf("%s: %w: the interface is that of container %s", doing, ErrNotFound, holder)
	}
	if answer.InSync {
		return nil
	}
	var differences []string
	for _, unmet := range answer.Unmet {
		differences = append(differences, unmet.Reason+": "+unmet.Message)
	}
	for _, change := range answer.Differences {
		differences = append(differences, change.Verb+" "+change.Words)
	}
	return fmt.Errorf("%s: not as desired: %s", doing, strings.Join(differences, "; "))
}

func (d daemon) status() error {
	const doing = "status"
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	answer, err := call(ctx, d, doing, 0, netplumbv1.WorkloadNetworkingClient.Status, &netplumbv1.StatusRequest{})
	if err != nil {
		return err
	}
	if !answer.Ready {
		return &callError{doing, status.New(codes.Unavailable, "the node's own network is not set up yet")}
	}
	return nil
}

// call asks again for as long as the patience lasts when no daemon answers.
func call[Request, Answer any](
	ctx context.Context,
	d daemon,
	doing string,
	patience time.Duration,
	method func(netplumbv1.WorkloadNetworkingClient, context.Context, *Request, ...grpc.CallOption) (*Answer, error),
	request *Request,
) (*Answer, error) {
	conn, err := connection(d.socketPath)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	stub := netplumbv1.NewWorkloadNetworkingClient(conn)
	for patient := time.Now().Add(patience); ; {
		var trailer metadata.MD
		answer, err := method(stub, ctx, request, grpc.Trailer(&trailer))
		if err == nil {
			return answer, nil
		}
		said := status.Convert(err)
		if said.Code() != codes.Unavailable || len(trailer.Get(answeredKey)) > 0 {
			return nil, &callError{doing, said}
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
		}
		if ctx.Err() != nil || time.Now().After(patient) {
			said = status.Newf(codes.Unavailable, "no daemon answers on %s: %s", d.socketPath, said.Message())
			return nil, &callError{doing, said}
		}
	}
}
