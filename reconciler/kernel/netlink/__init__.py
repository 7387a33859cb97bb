"""Netlink itself, whatever is spoken in it: attributes and headers as bytes, a socket for requests and their answers,
filters on sockets that listen.
"""
