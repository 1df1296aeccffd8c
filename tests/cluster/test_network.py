import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.namespaces import HOME
from tests.cluster.network import SHARED, Network, network
from tests.support.processes import wait_until

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with network(tmp_path_factory.mktemp("hosts"), ["laptop", "head", "one"]) as made:
        yield made


def can_reach(hosts, name, other):
    knock = ["timeout", "1", "bash", "-c", f"</dev/tcp/{other}/22"]
    return hosts.run(name, knock, check=False).returncode == 0


def what_is_seen_of_it():
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    names = {line.split(":")[1] for line in links.stdout.splitlines()}
    return names, Path("/proc/self/mounts").read_text()


def test_hosts_reach_each_other_by_name(hosts):
    assert can_reach(hosts, "laptop", "head")
    assert can_reach(hosts, "one", "laptop")


def test_a_host_sees_its_own_processes_only(hosts):
    with hosts.start("one", ["sleep", "1000"]) as sleeping:
        wait_until(lambda: "sleep 1000" in hosts.processes("one"))

        assert "sleep 1000" not in hosts.processes("head")
        sleeping.kill()


def test_the_shared_folder_is_one_for_all_but_the_laptop(hosts):
    hosts.put("head", f"{SHARED}/note", "from the head")

    assert hosts.get("one", f"{SHARED}/note") == "from the head"
    assert (hosts.folder / "shared" / "note").read_text() == "from the head"
    assert hosts.run("laptop", ["ls", SHARED], check=False).returncode != 0
    assert hosts.run("laptop", ["find", str(hosts.folder)]).stdout.split() == [str(hosts.folder)]


def test_what_a_host_writes_is_its_own_even_beside_what_all_see(hosts):
    ours = Path(__file__)

    hosts.run("one", ["rm", str(ours)])

    assert ours.exists()
    assert hosts.run("head", ["test", "-e", str(ours)]).returncode == 0


def test_a_host_that_was_off_comes_back_with_its_disk_and_no_processes(hosts):
    hosts.put("one", f"{HOME}/kept", "here")
    with hosts.start("one", ["sleep", "2000"]) as sleeping:
        wait_until(lambda: "sleep 2000" in hosts.processes("one"))
        hosts.power_off("one")
        assert not can_reach(hosts, "head", "one")
        sleeping.wait(10)

    hosts.power_on("one")

    assert hosts.get("one", f"{HOME}/kept") == "here"
    wait_until(lambda: hosts.processes("one") == [], 20)
    assert can_reach(hosts, "head", "one")


def test_a_cut_cable_closes_no_connection(hosts):
    talk = "coproc nc { exec 3<>/dev/tcp/one/22; read -r line <&3; echo $line; sleep 1000; }"
    with hosts.start(
        "head",
        ["bash", "-c", f"{talk}; read -r x <&${{nc[0]}}; echo $x; wait"],
        output=subprocess.PIPE,
    ) as talking:
        assert talking.stdout.readline().startswith("SSH-2.0")
        hosts.cut("one")

        assert not can_reach(hosts, "head", "one")
        assert "ESTAB" in hosts.run("head", ["ss", "-tn", "dport", "=", ":22"]).stdout
        hosts.heal("one")
        assert can_reach(hosts, "head", "one")
        talking.kill()


def test_a_small_disk_gets_full(hosts):
    hosts.small_disk("one", "/data", 64 * 1024)

    fill = hosts.run("one", ["sh", "-c", "head -c 100000 /dev/zero >/data/x"], check=False)

    assert "No space left" in fill.stderr


def test_a_host_gets_the_address_that_a_cloud_gave_it(tmp_path):
    with network(tmp_path, ["laptop", "head"]) as hosts:
        hosts.add_address("laptop", "172.31.255.254")
        hosts.readdress("head", "172.31.7.9")

        assert hosts.run("laptop", ["getent", "hosts", "head"]).stdout.split()[0] == "172.31.7.9"
        assert can_reach(hosts, "laptop", "172.31.7.9")
        assert hosts.hosts["head"].address == "172.31.7.9"


def test_two_networks_know_nothing_of_each_other(hosts, tmp_path):
    with network(tmp_path, ["laptop", "other"]) as others:
        assert others.hosts["laptop"].address == hosts.hosts["laptop"].address
        assert not can_reach(others, "laptop", hosts.hosts["one"].address)


def test_nothing_of_a_network_is_seen_outside_and_nothing_stays(tmp_path):
    before = what_is_seen_of_it()

    with network(tmp_path, ["laptop", "head"]) as hosts:
        pids = [hosts.switch, *(host.pid for host in hosts.hosts.values())]
        assert what_is_seen_of_it() == before

    assert what_is_seen_of_it() == before
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list((tmp_path / "shared").iterdir()) == []


def test_nothing_stays_of_a_network_whose_owner_was_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tests.cluster.network import Network\n"
        f"made = Network.up(Path({str(tmp_path)!r}), ['laptop', 'head'])\n"
        "print(made.switch, *(h.pid for h in made.hosts.values()), flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as owner:
        pids = owner.stdout.readline().split()
        assert len(pids) == 3

        owner.send_signal(signal.SIGKILL)

    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 20)


def test_a_network_by_hand_is_found_again_by_its_folder(tmp_path):
    made = Network.up(tmp_path, ["head"], outlives_us=True)

    found = Network.open(tmp_path)
    found.power_off("head")
    found.power_on("head")
    assert found.run("head", ["hostname"]).stdout == "head\n"

    found.down()
    assert not made.is_up
    made.down()
