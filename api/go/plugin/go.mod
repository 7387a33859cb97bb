// It needs nothing but Go's own library.
module netplumb-cni

go 1.19
