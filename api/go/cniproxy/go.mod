// The path is that of the package this one stands in for, so that a program takes it with one replace line.
module github.com/containerd/go-cni

go 1.19

require (
	github.com/containernetworking/cni v1.1.2
	google.golang.org/grpc v1.47.0
	google.golang.org/protobuf v1.28.1
)
