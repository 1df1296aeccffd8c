"""A cluster launched up to where Ray would reach for SSH, and the autoscaler of its head."""

import gc
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from ray.autoscaler._private import commands
from ray.autoscaler.v2 import autoscaler as v2
from ray.autoscaler.v2.instance_manager.config import FileConfigReader
from ray.core.generated import autoscaler_pb2 as messages

ROOT = Path(__file__).resolve().parents[2]
HEAD_ID = b"h" * 28


class RecordingUpdater:
    """Stands where Ray would reach a machine by SSH, and keeps what it would do there."""

    given: ClassVar[list] = []

    def __init__(self, **arguments):
        path = arguments["file_mounts"].get("~/ray_bootstrap_config.yaml")
        if path is not None:  # Ray deletes it afterwards
            with open(path, encoding="utf-8") as file:
                arguments["bootstrap"] = json.load(file)
        type(self).given.append(arguments)
        self.exitcode = 0

    def start(self):
        pass

    def join(self):
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A cluster whose head has been bought and would now be set up."""

    path: Path
    """The file that it was launched from."""

    updater: dict[str, Any]
    """What Ray would do on the head."""

    bootstrap: Path
    """The file from which the head's autoscaler works."""

    calls: list[tuple[str, dict[str, Any]]]

    @property
    def head_id(self) -> str:
        return self.updater["node_id"]

    def asked(self, operation):
        """Return the arguments of each call of an operation until the head was there."""
        return [arguments for name, arguments in self.calls if name == operation]


def launch(account, name, text):
    """Do what `ray up` does with a file of this text, up to the first connection by SSH."""
    account.forget()
    home = Path.home()
    path = home / f"{name}.yaml"
    path.write_text(text)
    RecordingUpdater.given = []
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.object(commands, "NodeUpdaterThread", RecordingUpdater),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its files to the collector
        patch.chdir(ROOT)
        commands.create_or_update_cluster(
            str(path),
            override_min_workers=None,
            override_max_workers=None,
            no_restart=False,
            restart_only=False,
            yes=True,
            no_config_cache=True,
            redirect_command_output=None,
        )
        gc.collect()
    (updater,) = RecordingUpdater.given
    bootstrap = home / f"{name}-bootstrap.yaml"
    # On the head the key lies elsewhere; the autoscaler reads it to see whether it has changed.
    updater["bootstrap"]["auth"]["ssh_private_key"] = updater["auth_config"]["ssh_private_key"]
    bootstrap.write_text(json.dumps(updater["bootstrap"]))
    return Launched(path=path, updater=updater, bootstrap=bootstrap, calls=list(account.calls))


class Head:
    """The autoscaler as it runs on the head, and the state of Ray that it is told."""

    def __init__(self, launched):
        self.state = messages.ClusterResourceState(cluster_resource_state_version=1)
        self.add_node(HEAD_ID, launched.head_id, "head", {"node:__internal_head__": 1.0})
        self.installed = []
        self.gcs = mock.Mock(address="10.0.0.1:6379")
        self.gcs.drain_node.return_value = (True, "")
        installer = mock.Mock()
        installer.notify = self.installed.extend
        with mock.patch.object(v2, "ThreadedRayInstaller", return_value=installer):
            self.autoscaler = v2.Autoscaler(
                "session", FileConfigReader(str(launched.bootstrap)), self.gcs
            )

    def add_node(self, node_id, instance_id, kind, resources, **more):
        self.state.node_states.add(
            node_id=node_id,
            instance_id=instance_id,
            ray_node_type_name=kind,
            total_resources=resources,
            available_resources=resources,
            **{"status": messages.RUNNING, **more},
        )

    def wait_for_trials(self, count, resources):
        request = messages.ResourceRequest(resources_bundle=resources)
        del self.state.pending_resource_requests[:]
        self.state.pending_resource_requests.add(request=request, count=count)

    def round(self):
        """Run one of the rounds that there is every five seconds."""
        with mock.patch.object(v2, "get_cluster_resource_state", return_value=self.state):
            assert self.autoscaler.update_autoscaling_state() is not None


def bought(calls):
    """Return how many machines of which type were asked for in which market, by type."""
    return sorted(
        (
            call["InstanceType"],
            call.get("InstanceMarketOptions", {}).get("MarketType", "on-demand"),
            call["MaxCount"],
        )
        for call in calls
    )
