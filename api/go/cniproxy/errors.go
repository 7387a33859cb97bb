package cni

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What errors.Is tells apart, as with go-cni.
var (
	ErrCNINotInitialized = errors.New("cni plugin not initialized")
	ErrInvalidConfig     = errors.New("invalid cni config")
	ErrNotFound          = errors.New("not found")
	ErrRead              = errors.New("failed to read config file")
	ErrInvalidResult     = errors.New("invalid result")
	ErrLoad              = errors.New("failed to load cni config")
)

// IsCNINotInitialized tells whether the daemon cannot be reached or has no pools.
func IsCNINotInitialized(err error) bool { return errors.Is(err, ErrCNINotInitialized) }

// IsInvalidConfig tells whether a configuration could not be understood.
func IsInvalidConfig(err error) bool { return errors.Is(err, ErrInvalidConfig) }

// IsNotFound tells whether there is no such interface.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// IsReadFailure tells whether a configuration file could not be read.
func IsReadFailure(err error) bool { return errors.Is(err, ErrRead) }

// IsInvalidResult tells whether the daemon's answer could not be understood.
func IsInvalidResult(err error) bool { return errors.Is(err, ErrInvalidResult) }

// callError is a call that failed: in words for a person, as a gRPC status, and as an error that errors.Is knows.
type callError struct {
	doing  string
	status *status.Status
}

func (e *callError) Error() string {
	if e.status.Code() == codes.Unavailable {
		return fmt.Sprintf("%v: %s: %s", ErrCNINotInitialized, e.doing, e.status.Message())
	}
	return fmt.Sprintf("%s: %s (%s)", e.doing, e.status.Message(), e.status.Code())
}

func (e *callError) GRPCStatus() *status.Status { return e.status }

func (e *callError) Is(target error) bool {
	switch e.status.Code() {
	case codes.Unavailable:
		return target == ErrCNINotInitialized
	case codes.NotFound:
		return target == ErrNotFound
	case codes.DeadlineExceeded:
		return target == context.DeadlineExceeded
	case codes.Canceled:
		return target == context.Canceled
	}
	return false
}
