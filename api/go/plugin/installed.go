package main

import "strings"

const nul = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// installed is where `netplumb cni install` writes the daemon's socket into the program, so that nothing has to be read
// to know it: after the mark, and before the first NUL. There is room for what a socket's path may be long.
var installed = "# Written by `netplumb cni install`; `netplumb cni uninstall` removes it.\n" +
	"SOCKET = /run/netplumb/workloadnet.sock.cni" + nul + nul + nul + nul + nul

func socket() string {
	_, path, _ := strings.Cut(installed, " = ")
	path, _, _ = strings.Cut(path, "\x00")
	return path
}
