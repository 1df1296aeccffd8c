"""The hosts by hand: ``python -m tests.cluster up FOLDER laptop head one two``, and so on."""

import os
import sys
from pathlib import Path

from tests.cluster.network import Network

USAGE = """\
python -m tests.cluster up FOLDER HOST...        start them; 'laptop' is without the shared folder
python -m tests.cluster on FOLDER HOST [COMMAND] a shell, or a command, on a host
python -m tests.cluster off|start|cut|heal FOLDER HOST
python -m tests.cluster down FOLDER              leave nothing"""


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        sys.exit(USAGE)
    what, folder, *rest = arguments
    if what == "up":
        made = Network.up(Path(folder), rest, outlives_us=True)
        print(*(f"{host.name} {host.address}" for host in made.hosts.values()), sep="\n")
        return
    hosts = Network.open(Path(folder))
    if what == "down":
        hosts.down()
    elif what == "on":
        command = [*hosts.entering(rest[0]), *(rest[1:] or ["bash", "--login"])]
        os.execvp(command[0], command)
    else:
        acts = {"off": hosts.power_off, "start": hosts.power_on}
        acts |= {"cut": hosts.cut, "heal": hosts.heal}
        acts[what](rest[0])


if __name__ == "__main__":
    main(sys.argv[1:])
