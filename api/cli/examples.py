"""An example or two of each command, as its help page shows them. Data only: every line is run through the parser by a
test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[tuple[str, str]]] = {
    "": (
        ("netplumb attach web --netns web", "a network for the namespace /run/netns/web"),
        ("netplumb doctor", "what is wrong with this node, and what heals it"),
    ),
    "attach": (
        ("netplumb attach web --netns web --label app=shop", "addresses from the pools"),
        ("netplumb attach web --netns web --port 8080:80 --ingress-rate 100M", "a port of the node, and a limit"),
        ("netplumb attach web/eth1 --netns web --address 10.99.0.53", "a second interface, with an address of its own"),
    ),
    "detach": (("netplumb detach web", "its eth0"), ("netplumb detach web/eth1", "one interface by name")),
    "apply": (
        ("netplumb apply -f web.yaml", "a file"),
        ("netplumb apply -f wishes/ --prune --dry-run", "what a directory would change, and what would go"),
        ("netplumb apply -f -", "documents on stdin"),
        ("netplumb apply -f web.yaml --node node-b", "for another node of the cluster"),
    ),
    "delete": (
        ("netplumb delete -f web.yaml", "what a file declares"),
        ("netplumb delete -l app=shop", "what has a label and was applied"),
    ),
    "diff": (("netplumb diff -f web.yaml", "what an apply would change"),),
    "get": (
        ("netplumb get web", "all fields of its eth0"),
        ("netplumb get web db/eth1", "a line for each"),
        ("netplumb get web -o yaml > web.yaml", "for: netplumb apply -f web.yaml"),
        ("netplumb get -l app=shop -o wide", "a line for each with the label"),
        ("netplumb get -o name", "names alone, for a script"),
    ),
    "list": (
        ("netplumb list", "all attachments"),
        ("netplumb list --all-nodes", "those of all nodes of the cluster"),
        ("netplumb list -l 'app in (shop,db),!test' -o json", "by labels, as JSON"),
    ),
    "watch": (("netplumb watch -l app=shop -o json", "each change as a line of JSON"),),
    "wait": (
        ("netplumb wait --for attached web db --timeout 60s", "two workloads"),
        ("netplumb wait --for delete -l app=shop", "until all of them are gone"),
    ),
    "check": (
        ("netplumb check", "the node and all attachments against the kernel"),
        ("netplumb check web", "one, for its exit code"),
    ),
    "status": (("netplumb status", "the daemon as a whole"), ("netplumb status -o json", "the same for scripts")),
    "gc": (
        ("netplumb gc --source rpc --alive web --alive db/eth1 --dry-run", "what would go"),
        ("netplumb gc --source cni/pods --none --yes", "all of a network"),
    ),
    "describe": (("netplumb describe web --events 50", "all about it, with a longer history"),),
    "events": (
        ("netplumb events --since 1h", "what happened in the last hour"),
        ("netplumb events web --follow", "what happens to one workload"),
    ),
    "top": (
        ("netplumb top", "who receives and sends most, refreshed"),
        ("netplumb top --once --sort total -n 10", "the ten with most bytes"),
    ),
    "map": (
        ("netplumb map", "the node as a tree"),
        ("netplumb map -o html > node.html", "one page with picture, table and filter"),
    ),
    "plan": (
        ("netplumb plan", "what the daemon would change now"),
        ("netplumb plan -f web.yaml", "were a state file put into place"),
    ),
    "plan attach": (("netplumb plan attach web --netns web", "what an attach would change"),),
    "plan detach": (("netplumb plan detach web", "what a detach would change"),),
    "policy": (
        ("netplumb policy list", "what there is"),
        ("netplumb policy explain web db --port 5432", "whether one may ask the other"),
    ),
    "policy list": (("netplumb policy list -o json", "with the manifests, for a script"),),
    "policy show": (("netplumb policy show shop/db-from-web", "one, and the workloads that it isolates"),),
    "policy explain": (
        ("netplumb policy explain web db --port 5432", "whether, and by which rule"),
        ("netplumb policy explain 198.51.100.7 web --port 80", "the same of a client outside"),
    ),
    "policy diff": (("netplumb policy diff -f policies.yaml", "who would gain or lose which ports"),),
    "cni": (("netplumb cni install", "serve this node's runtimes"),),
    "cni install": (
        ("netplumb cni install", "a network named netplumb"),
        ("netplumb cni install --network storage --pool storage", "one with pools of its own"),
    ),
    "cni uninstall": (("netplumb cni uninstall --network storage", "one network"),),
    "config": (("netplumb config show", "each setting, and where its value comes from"),),
    "config show": (("netplumb config show --pool 10.99.0.0/24", "as a daemon with this flag would see them"),),
    "doctor": (
        ("netplumb doctor", "what is wrong with this node, and what heals it"),
        ("netplumb doctor --skip clock -o json", "for scripts, less what is known and accepted"),
    ),
    "schema": (("netplumb schema attachment > attachment.schema.json", "for an editor that completes and checks"),),
    "trace": (
        ("netplumb trace web 203.0.113.7 --port 443", "where a packet ends, and why"),
        ("netplumb trace 198.51.100.9 node --port 8080", "what somebody outside sends to a published port"),
        ("netplumb trace web db --port 5432 --live", "one that is really sent"),
    ),
    "validate": (
        ("netplumb validate /etc/netplumb/state", "what the daemon would say of these files"),
        ("netplumb validate - -o json", "of a document on stdin"),
    ),
    "daemon": (
        ("netplumb daemon --pool 10.99.0.0/24 --pool fd99::/64", "without a settings file"),
        ("netplumb daemon --config /etc/netplumb/netplumb.yaml", "as the unit does"),
    ),
    "purge": (("netplumb purge", "show what would go, and ask"),),
    "sandbox": (("netplumb sandbox --demo", "see it attach, break and repair"),),
    "cluster": (("netplumb cluster status", "who is there, what they hold, and what is wrong"),),
    "cluster status": (("netplumb cluster status -o json", "for a script"),),
    "cluster members": (("netplumb cluster members", "etcd's own members, and which of them leads"),),
    "cluster remove": (("netplumb cluster remove node-7", "a node that does not come back"),),
    "cluster accept": (("netplumb cluster accept", "after etcd was restored from a backup"),),
}
