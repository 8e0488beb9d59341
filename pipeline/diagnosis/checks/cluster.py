"""Whether the workers of a cluster find each other."""

import ipaddress

from pipeline.diagnosis.facts import Facts, Peer
from pipeline.diagnosis.finding import Finding, bad, good, note

# In gRPC's order: the first that is set counts.
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def check_cluster(facts: Facts) -> list[Finding]:
    """Judges the cluster that the environment describes; says nothing where there is none."""
    network = facts.network
    if network.failure:
        return [bad("cluster", network.failure, f"mend {network.source or 'the environment'}, or unset it")]
    if not network.peers:
        return []
    own = next(peer for peer in network.peers if peer.own)
    found = good("cluster", f"{network.source}: {len(network.peers)} workers, of which this is number {own.index}")
    return [found, *(_own(peer) if peer.own else _peer(peer) for peer in network.peers), *_proxy(facts)]


def _own(peer: Peer) -> Finding:
    name, port = f"worker:{peer.index}", peer.address.rpartition(":")[2]
    if peer.result == "unknown":
        return bad(name, f"this worker's own name, {peer.address}, is not known here: {peer.reason}", _names())
    if peer.result == "free":
        return good(name, f"this worker can listen at port {port}")
    why = f" ({peer.reason})" if peer.reason else ""
    return bad(
        name,
        f"port {port} of this worker is in use{why}",
        f"end what uses it (sudo ss -ltnp 'sport = :{port}'); if that is this training, all is well",
    )


def _peer(peer: Peer) -> Finding:
    name, address = f"worker:{peer.index}", peer.address
    host, _, port = address.rpartition(":")
    if peer.result == "answers":
        return good(name, f"{address} answers")
    if peer.result == "refused":
        return good(name, f"{address} is reached; nothing listens there yet, as no training runs")
    if peer.result == "unknown":
        return bad(name, f"the name {host} is not known here: {peer.reason}", _names())
    if peer.result == "silent":
        do = f"open port {port} from here to {host} in firewalls and network policies, and see that the machine runs"
        return bad(name, f"{address} doesn't answer", do)
    return bad(name, f"{address} can't be reached: {peer.reason}", f"ping {host}; look at routes and addresses")


def _names() -> str:
    return "name workers by addresses or names that all machines know (getent hosts NAME)"


def _proxy(facts: Facts) -> list[Finding]:
    environment = facts.environment
    proxy = next((name for name in PROXIES if environment.get(name)), "")
    if not proxy:
        return []
    spared = next((environment[name] for name in EXCEPTIONS if environment.get(name)), "").split(",")
    entries = [each.strip() for each in spared if each.strip()]
    hosts = {peer.address.rpartition(":")[0].strip("[]") for peer in facts.network.peers if not peer.own}
    through = sorted(host for host in hosts if not any(_spares(entry, host) for entry in entries))
    if not through:
        return [note("proxy", f"{proxy} is set, and spares all workers")]
    says = f"{proxy} is set, and TensorFlow would call {', '.join(through)} through that proxy, and wait for ever"
    return [bad("proxy", says, f"export no_grpc_proxy={','.join(sorted(hosts))}")]


def _spares(entry: str, host: str) -> bool:
    """Whether gRPC calls a host itself because of an entry of `no_proxy`: the end of its name, or a network."""
    if host.lower().endswith(entry.lower()):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
