package cni

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd/go-cni/internal/netplumbv1"
)

const (
	id   = "3f1e9a"
	path = "/run/netns/web"
)

var background = context.Background()

// podLabels are what containerd passes.
func podLabels(uid string) map[string]string {
	return map[string]string{
		"K8S_POD_NAMESPACE":          "shop",
		"K8S_POD_NAME":               "web-0",
		"K8S_POD_INFRA_CONTAINER_ID": id,
		"K8S_POD_UID":                uid,
		"IgnoreUnknown":              "1",
	}
}

// Setup asks for all interfaces at a time, SetupSerially for one after the other.
func TestSetupDoesNotWaitBetweenInterfaces(t *testing.T) {
	daemon := newFake(t)
	cni := newCNI(t, WithConfListBytes(list("a")), WithConfListBytes(list("b")), WithConfListBytes(list("c")))
	daemon.together = 3
	if _, err := cni.Setup(background, id, path); err != nil {
		t.Errorf("Setup: %v", err)
	}
	daemon.together, daemon.most = 0, 0
	if _, err := cni.SetupSerially(background, id, path); err != nil || daemon.most != 1 {
		t.Errorf("SetupSerially asked for %d at a time: %v", daemon.most, err)
	}
}

// What one interface is refused is the error of both ways to set up.
func TestARefusedInterfaceFailsSetup(t *testing.T) {
	daemon := newFake(t)
	daemon.refuse["eth1"] = refusal(codes.ResourceExhausted, "every address of pool 10.213.0.0/24 is held")
	cni := newCNI(t, WithConfListBytes(list("a")), WithConfListBytes(list("b")))
	for name, setup := range map[string]func(context.Context, string, string, ...NamespaceOpts) (*Result, error){
		"Setup": cni.Setup, "SetupSerially": cni.SetupSerially,
	} {
		result, err := setup(background, id, path)
		if result != nil || status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s: %v, %v", name, result, err)
		}
		const want = "attach 3f1e9a/eth1: every address of pool 10.213.0.0/24 is held (ResourceExhausted)"
		if err.Error() != want {
			t.Errorf("%s: %q, not %q", name, err, want)
		}
	}
}

// Remove takes the other interfaces away even if one cannot go, and asks nobody for readiness.
func TestRemoveGoesOnAfterAnError(t *testing.T) {
	daemon := newFake(t)
	daemon.refuse["eth0"] = refusal(codes.DeadlineExceeded, "link busy")
	daemon.refuse["Status"] = refusal(codes.Unavailable, "no pools")
	err := newCNI(t, WithConfListBytes(list("a")), WithConfListBytes(list("b"))).Remove(background, id, path)
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the error is %v", err)
	}
	if got := daemon.detaches(); len(got) != 2 || got[1].Netns.IfName != "eth1" || got[1].Netns.NetnsPath != path {
		t.Errorf("detached %v", got)
	}
	if len(daemon.asked) != 2 {
		t.Errorf("asked %v", daemon.asked)
	}
}

// Check tells what differs, who holds the interface now, and that there is none.
func TestCheckTellsWhatDiffers(t *testing.T) {
	daemon := newFake(t)
	cni := newCNI(t)
	if err := cni.Check(background, id, path); err != nil {
		t.Errorf("in sync: %v", err)
	}
	daemon.check = &netplumbv1.CheckResponse{Differences: []*netplumbv1.PlannedChange{{Verb: "+", Words: "route default via 169.254.77.1"}}}
	if err := cni.Check(background, id, path); err == nil || !strings.Contains(err.Error(), "+ route default via 169.254.77.1") {
		t.Errorf("differs: %v", err)
	}
	daemon.check = &netplumbv1.CheckResponse{InSync: true, Attachment: &netplumbv1.Attachment{ContainerId: "another"}}
	if err := cni.Check(background, id, path); !IsNotFound(err) || !strings.Contains(err.Error(), "another") {
		t.Errorf("another container: %v", err)
	}
	daemon.refuse["Check"] = refusal(codes.NotFound, "no attachment web/eth0")
	if err := cni.Check(background, id, path); !IsNotFound(err) {
		t.Errorf("not there: %v", err)
	}
}

// Status is the daemon's: ready, or not initialized for a reason.
func TestStatusIsTheDaemons(t *testing.T) {
	daemon := newFake(t)
	cni := newCNI(t, WithMinNetworkCount(5))
	if err := cni.Status(); err != nil {
		t.Errorf("ready: %v", err)
	}
	daemon.ready = false
	if err := cni.Status(); !IsCNINotInitialized(err) {
		t.Errorf("not ready: %v", err)
	}
	daemon.refuse["Status"] = refusal(codes.Unavailable, "no pools")
	if err := cni.Status(); !IsCNINotInitialized(err) || !strings.Contains(err.Error(), "no pools") {
		t.Errorf("no pools: %v", err)
	}
	daemon.stop()
	start := time.Now()
	if err := cni.Status(); !IsCNINotInitialized(err) || !strings.Contains(err.Error(), daemon.socket) {
		t.Errorf("no daemon: %v", err)
	}
	if took := time.Since(start); took > statusTimeout/2 {
		t.Errorf("told after %v that there is no daemon", took)
	}
	daemon.refuse, daemon.ready = nil, true
	daemon.start(t)
	for end := time.Now().Add(10 * time.Second); cni.Status() != nil; time.Sleep(retryInterval) {
		if time.Now().After(end) {
			t.Fatal("the daemon is back and Status does not notice")
		}
	}
}

// A daemon that restarts is waited for; one that is away for longer, or for longer than the caller has, is an error.
func TestARestartIsWaitedFor(t *testing.T) {
	daemon := newFake(t)
	cni := newCNI(t)
	if _, err := cni.Setup(background, id, path); err != nil {
		t.Fatal(err)
	}
	daemon.stop()
	soon, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	if err := cni.Remove(soon, id, path); err == nil || soon.Err() == nil {
		t.Errorf("before the context ended: %v", err)
	}
	removed := make(chan error)
	go func() { removed <- cni.Remove(background, id, path) }()
	time.Sleep(4 * retryInterval)
	daemon.start(t)
	if err := <-removed; err != nil {
		t.Errorf("with the daemon back: %v", err)
	}
}

// What the caller gave up is told as its context tells it.
func TestTheEndOfTheContextIsTold(t *testing.T) {
	daemon := newFake(t)
	daemon.together = 2 // and there is one
	cni := newCNI(t)
	soon, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	if _, err := cni.Setup(soon, id, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too late: %v", err)
	}
	never, cancel := context.WithCancel(background)
	cancel()
	if _, err := cni.Setup(never, id, path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// UNAVAILABLE that the daemon itself says is an answer, and is not asked for again.
func TestTheDaemonsOwnWordIsFinal(t *testing.T) {
	daemon := newFake(t)
	daemon.refuse["Attach"] = refusal(codes.Unavailable, "no pools")
	_, err := newCNI(t).Setup(background, id, path)
	if !IsCNINotInitialized(err) || len(daemon.attaches()) != 1 {
		t.Errorf("asked %d times: %v", len(daemon.attaches()), err)
	}
}
