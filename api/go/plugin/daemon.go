package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// answerWithinS bounds each wait for the daemon: to be let in, to be heard, and to be answered.
const answerWithinS = 120

const partBytes = 64 << 10

var errNotWhole = errors.New("the answer is not whole")

// ask is the exit status and the output that the daemon wants of us.
func ask(config []byte) (int, []byte, error) {
	daemon, err := connected(socket())
	if err != nil {
		return 0, nil, err
	}
	variables := environment()
	request := fmt.Appendf(nil, "netplumb-cni 1 %d %d\n%s%s", len(variables), len(config), variables, config)
	if _, err := daemon.Write(request); err != nil && !hasLeft(err) {
		return 0, nil, err
	} // one that has left does not want to hear more, and its answer says why
	var received []byte
	part := make([]byte, partBytes)
	for {
		count, err := daemon.Read(part)
		if err == io.EOF {
			err = errNotWhole
		}
		if err != nil {
			return 0, nil, err
		}
		received = append(received, part[:count]...)
		if status, answer, err := whole(received); answer != nil || err != nil {
			return status, answer, err
		}
	}
}

// connected is a connection that waits in the kernel, and no longer than it may. Package net would not wait where many
// connect at once, and takes longer to start.
func connected(path string) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	within := syscall.Timeval{Sec: answerWithinS}
	for _, option := range []int{syscall.SO_SNDTIMEO, syscall.SO_RCVTIMEO} {
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, option, &within); err != nil {
			return nil, err
		}
	}
	for {
		err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
		if err != syscall.EINTR {
			return os.NewFile(uintptr(fd), path), err
		}
	}
}

func environment() string {
	var ours []string
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "CNI_") {
			ours = append(ours, variable)
		}
	}
	return strings.Join(ours, "\x00")
}

// whole is what was received taken apart, nothing while more is to come.
func whole(received []byte) (int, []byte, error) {
	head, answer, found := bytes.Cut(received, []byte{'\n'})
	if !found {
		return 0, nil, nil
	}
	words := strings.Fields(string(head))
	if len(words) != 2 {
		return 0, nil, errNotWhole
	}
	status, err := strconv.Atoi(words[0])
	length, err2 := strconv.Atoi(words[1])
	if err != nil || err2 != nil {
		return 0, nil, errNotWhole
	}
	if len(answer) != length {
		return 0, nil, nil
	}
	return status, answer, nil
}

func hasLeft(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
