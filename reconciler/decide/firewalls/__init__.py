"""PURE: what other tables drop of what the node forwards for workloads.

A packet passes when no base chain drops it, and an accept in our table overrules none of the others. So what a foreign
rule or policy drops can only be told, with what would let it pass; it is never changed.

`ruleset` reads listings, `traffic` says what we send through which hook, `answers` and `matches` whether a rule means
it, `weigh` follows it through the chains, and `words` tells what came of it.
"""
