"""Judgements about who gets in: the token on every machine, what is refused, and which ports."""

from collections.abc import Iterator, Sequence

from search.doctor.findings import (
    Finding,
    Listener,
    NodeFacts,
    Place,
    Problem,
    TokenFacts,
    finding,
    names,
)
from search.doctor.ports import is_loopback

EXPORT = (
    "Export RAY_AUTH_MODE=token where `ray start` runs on every node, with the same token file "
    "there, and restart Ray (`twohead cluster-yaml` writes a file that does)"
)
BRING = (
    "Bring one token to every node: name ~/.ray/auth_token in `file_mounts` of cluster.yaml, "
    "then `ray up` again"
)
LOOPBACK = (
    "Start the head with `--dashboard-host=127.0.0.1`, and reach it through "
    "`ray dashboard cluster.yaml`"
)
SSH = 22
CLOSE = "Open no port but 22 to the outside: this is what the security group or firewall is for"


def judge_modes(places: Sequence[Place]) -> Finding:
    """Judge whether Ray's processes on every node were started in token mode."""
    problems = []
    seen = 0
    for place, facts in _known(places):
        wrong = sorted(
            role for role, mode in facts["modes"].items() if (mode or "").lower() != "token"
        )
        seen += len(facts["modes"])
        if wrong:
            what = f"started without RAY_AUTH_MODE=token: {', '.join(wrong)}"
            problems.append((place.title, Problem(what=what, cure=EXPORT)))
        elif not facts["modes"]:
            what = "no process of Ray lets its environment be seen"
            cure = "Run this command as the user who started Ray"
            problems.append((place.title, Problem(what=what, cure=cure, state="warn")))
    return finding("token mode", problems, f"on, in all {seen} processes that tell")


def judge_tokens(places: Sequence[Place], own_digest: str | None) -> Finding:
    """Judge whether every node has the token that we have, for its owner's eyes only."""
    problems = []
    for place, facts in _known(places):
        token = facts["token"]
        problems += [(place.title, problem) for problem in token_problems(token)]
        if token["digest"] and own_digest and token["digest"] != own_digest:
            what = f"another token than the driver's in {where_token(token)}"
            problems.append((place.title, Problem(what=what, cure=BRING)))
    return finding("token file", problems, "there, mode 0600, the same on all nodes")


def token_problems(token: TokenFacts) -> list[Problem]:
    """Return what is wrong with a token's file."""
    if token["problem"]:
        return [Problem(what=f"{token['path']} {token['problem']}", cure=BRING)]
    problems = []
    path, mode, folder_mode = token["path"], token["mode"], token["folder_mode"]
    if mode is not None and mode & 0o077:
        what = f"{path} has mode {mode:04o}: others than its owner get at it"
        problems.append(Problem(what=what, cure=f"Run `chmod 600 {path}` there"))
    if folder_mode is not None and folder_mode & 0o077:
        folder = path.rpartition("/")[0]
        problems.append(
            Problem(
                what=f"{folder} has mode {folder_mode:04o}",
                cure=f"Run `chmod 700 {folder}` there",
                state="FAIL" if folder_mode & 0o022 else "warn",
            )
        )
    return problems


def where_token(token: TokenFacts) -> str:
    """Return where a token comes from, for people."""
    return token["path"] if token["source"] == "file" else token["source"]


def judge_refusals(places: Sequence[Place], dashboard: str) -> Finding:
    """Judge what was really said to a stranger, with no token and with a wrong one."""
    must = ["control service", *(["dashboard"] if dashboard else [])]
    problems: list[tuple[str, Problem]] = []
    refused: list[str] = []
    for place, facts in _known(places):
        for each in _asked(facts):
            problems += [(place.title, p) for p in _let_in(each)]
            if _is_guarded(each):
                refused.append(each["holder"])
        if place.is_head:
            problems += _unproved(place, facts, must)
    shown = ", ".join(f"{holder} ({refused.count(holder)})" for holder in dict.fromkeys(refused))
    return finding("refusal", problems, f"without a token and with a wrong one, by {shown}")


def judge_dashboard(places: Sequence[Place], dashboard: str) -> Finding:
    """Judge whether the dashboard, which takes jobs, is reached from its own machine only."""
    port = dashboard.rpartition(":")[2]
    problems = []
    for place, facts in _known(places):
        for each in facts["listeners"]:
            if not each["is_this_rays"] or str(each["port"]) != port:
                continue
            if not is_loopback(each["address"]):
                what = f"dashboard and jobs listen on {each['address']}:{port}"
                problems.append((place.title, Problem(what=what, cure=LOOPBACK)))
    fine = f"on {dashboard} only" if dashboard else "none runs"
    return finding("dashboard", problems, fine)


def judge_ports(places: Sequence[Place]) -> Finding:
    """Judge what else can be reached from outside, and who holds it."""
    problems = []
    told: dict[str, list[str]] = {}
    machines: set[str] = set()
    for place, facts in _known(places):
        is_new = facts["place"] not in machines
        machines.add(facts["place"])
        told.setdefault(_ports(facts, with_numbers=place.is_head), []).append(place.title)
        problems += [(place.title, p) for p in _exposed(facts, with_others=is_new)]
    lines = [f"{names(titles)}: {ports}" for ports, titles in told.items()]
    more = f"; and {len(lines) - 3} more nodes" if len(lines) > 3 else ""
    result = finding("ports", problems, "; ".join(lines[:3]) + more)
    if result.state == "ok":
        return result
    return Finding(
        check=result.check,
        state=result.state,
        seen=f"{result.seen} (all: {'; '.join(lines[:3])}{more})",
        cures=result.cures,
    )


def _known(places: Sequence[Place]) -> Iterator[tuple[Place, NodeFacts]]:
    return ((place, place.facts) for place in places if place.facts is not None)


def _asked(facts: NodeFacts) -> Iterator[Listener]:
    """Yield the ports that were asked for the token; an exporter of metrics has none."""
    for each in facts["listeners"]:
        if each["answer"] is not None and each["answer"]["by"] != "metrics":
            yield each


def _is_guarded(listener: Listener) -> bool:
    answer = listener["answer"]
    return answer is not None and answer["none"] == answer["wrong"] == "refused"


def _let_in(listener: Listener) -> list[Problem]:
    answer = listener["answer"]
    assert answer is not None
    where = f"{listener['holder']} on port {listener['port']}"
    strangers = [
        shown
        for key, shown in (("none", "no token"), ("wrong", "a wrong token"))
        if answer["none" if key == "none" else "wrong"] == "answered"
    ]
    if strangers:
        return [Problem(what=f"{where} answers to {' and '.join(strangers)}", cure=EXPORT)]
    if answer["right"] == "refused":
        return [Problem(what=f"{where} refuses our own token", cure=BRING)]
    return []


def _unproved(head: Place, facts: NodeFacts, must: Sequence[str]) -> list[tuple[str, Problem]]:
    """Return who of those that must refuse was not seen to, nor seen to answer."""
    told = {each["holder"] for each in _asked(facts) if _is_guarded(each) or _let_in(each)}
    missing = [role for role in must if role not in told]
    if not missing:
        return []
    what = f"it could not be seen whether a stranger is refused by: {', '.join(missing)}"
    cure = "Run this command as the user who started Ray, on its head"
    return [(head.title, Problem(what=what, cure=cure, state="warn"))]


def _exposed(facts: NodeFacts, *, with_others: bool) -> list[Problem]:
    """Return what deserves a warning among the ports that other machines reach."""
    world = [each for each in facts["listeners"] if not is_loopback(each["address"])]
    has_metrics = any(
        each["answer"] is not None and each["answer"]["by"] == "metrics" for each in world
    )
    others = [
        f"{each['port']} ({each['holder']})"
        for each in world
        if not each["is_rays"] and each["port"] != SSH and with_others
    ]
    problems = []
    if has_metrics:
        what = "metrics are told without a token"
        problems.append(Problem(what=what, cure=CLOSE, state="warn"))
    if others:
        what = f"reached from other machines besides Ray and SSH: {names(others, 5)}"
        cure = f"End what is not wanted. {CLOSE}"
        problems.append(Problem(what=what, cure=cure, state="warn"))
    return problems


def _ports(facts: NodeFacts, *, with_numbers: bool) -> str:
    """Return who of this Ray listens on a machine; most of its ports are drawn at its start."""
    by_holder: dict[str, list[int]] = {}
    for each in facts["listeners"]:
        if each["is_this_rays"]:
            by_holder.setdefault(each["holder"], []).append(each["port"])
    told = []
    for holder, ports in sorted(by_holder.items()):
        unique = sorted(set(ports))
        shown = ", ".join(map(str, unique)) if len(unique) <= 4 else f"{len(unique)} ports"
        told.append(f"{holder} {shown}" if with_numbers else holder)
    return ", ".join(told)
