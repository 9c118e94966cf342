"""Whether clients get where the brokers send them: every advertised address is dialled from here."""

from __future__ import annotations

import ipaddress
from contextlib import closing

from kgw.doctor.connection import Address, Connection, NoAnswer, Trouble
from kgw.doctor.visit import Visit
from kgw.handlers import metadata


def check_addresses(visit: Visit) -> None:
    """Dial every broker's address, and enter those that can be used into the visit's routes."""
    for node, advertised in visit.brokers.items():
        _check(visit, node, advertised)


def _check(visit: Visit, node: int, advertised: Address) -> None:
    findings = visit.findings
    told = f"broker {node} tells clients to come to {advertised}"
    change = visit.advertise(advertised, visit.address)
    if not advertised.host or not 0 < advertised.port < 65536:
        findings.problem("address", f"{told}, which is no address", change)
        return
    if _is_wildcard(advertised.host):
        findings.problem(
            "address", f"{told}: that is every address of a machine and none that can be connected to", change
        )
        return
    if advertised == visit.address:
        findings.ok("address", f"{told}, as you did")
        return
    if _is_loopback(advertised.host) and not _is_loopback(visit.address.host):
        findings.problem("address", f"{told}: on any other machine that is the client itself", change)
        return
    try:
        with closing(Connection(advertised, visit.patience, visit.tls)) as connection:
            answer = connection.ask(metadata.API, metadata.Request(topics=[]))
            seconds = connection.connect_seconds
    except NoAnswer as refusal:
        findings.problem("address", f"{told}, but {_reason(refusal, advertised)}", change)
        return
    if answer.cluster_id != visit.cluster_id:
        findings.problem("address", f"{told}, but there is another cluster ({answer.cluster_id})", change)
        return
    visit.routes[node] = advertised
    findings.ok("address", f"{told}, which works from here", seconds)


def _reason(refusal: NoAnswer, advertised: Address) -> str:
    if refusal.trouble is Trouble.NAME and "." not in advertised.host:
        return f"{refusal}. Is it the name of a container? Then it is known in the container's network only"
    if refusal.trouble is Trouble.REFUSED:
        return f"{refusal}. The port is wrong, or is not forwarded"
    return str(refusal)


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
