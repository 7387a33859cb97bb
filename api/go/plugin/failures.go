package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode/utf8"
)

// The codes of CNI's specification.
const (
	ioFailure     = 5
	tryAgainLater = 11
	notAvailable  = 50
)

var supported = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

type failure struct {
	Version string `json:"cniVersion"`
	Code    int    `json:"code"`
	Message string `json:"msg"`
	Details string `json:"details"`
}

func versions(config []byte) []byte {
	return encoded(struct {
		Version   string   `json:"cniVersion"`
		Supported []string `json:"supportedVersions"`
	}{versionOf(config), supported})
}

func unreadable(err error) []byte {
	return encoded(failure{versionOf(nil), ioFailure, "the network configuration cannot be read", reason(err)})
}

func unanswered(command string, config []byte, err error) []byte {
	code := tryAgainLater
	if command == "STATUS" {
		code = notAvailable
	}
	return encoded(failure{versionOf(config), code, "netplumb does not answer", socket() + ": " + reason(err)})
}

// reason is the cause alone: what was done is told beside it.
func reason(err error) string {
	if errors.Is(err, syscall.EAGAIN) {
		return fmt.Sprintf("nothing came of it within %d s", answerWithinS)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return strings.ToLower(errno.Error())
	}
	return err.Error()
}

// versionOf is the version that an answer is worded in: what the configuration says, where it can be read.
func versionOf(config []byte) string {
	var fields map[string]json.RawMessage
	var version string
	if !utf8.Valid(config) || json.Unmarshal(config, &fields) != nil {
		return supported[len(supported)-1]
	}
	if value := fields["cniVersion"]; len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &version) != nil {
		return supported[len(supported)-1]
	}
	return version
}

func encoded(answer any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		panic(err) // text and numbers can be encoded
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
}
