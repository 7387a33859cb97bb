"""Links, addresses, routes, neighbours, rules and traffic control: kernel objects become requests, and what the kernel
dumps or tells becomes kernel objects.
"""
