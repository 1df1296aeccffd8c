"""An account at AWS that exists in this process only, and what Ray asks of it."""

import copy
import importlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock
from urllib.request import Request, urlopen

import boto3
import botocore.client
import botocore.exceptions
import pytest
from moto.server import ThreadedMotoServer

REGION = "us-west-2"
TOKEN = "canary-token-" + "4711" * 12


class AwsAccount:
    """What was asked of AWS, in order, and what there is now."""

    def __init__(self):
        self.calls = []
        self.refused_market = None
        self._changed = threading.Condition()

    def asked(self, operation):
        """Return the arguments of each call of an operation so far."""
        return [arguments for name, arguments in self.calls if name == operation]

    def wait_for(self, operation, count):
        """Return the calls of an operation once there are so many, or fail in 20 s."""
        with self._changed:
            is_there = self._changed.wait_for(lambda: len(self.asked(operation)) >= count, 20)
        assert is_there, f"{len(self.asked(operation))} of {count} calls of {operation}"
        return self.asked(operation)

    def record(self, operation, arguments):
        with self._changed:
            self.calls.append((operation, copy.deepcopy(arguments)))
            self._changed.notify_all()

    def forget(self):
        with self._changed:
            self.calls.clear()

    def instances(self, *states):
        """Return the machines in these states; without states all that ever were."""
        found = boto3.client("ec2").describe_instances()["Reservations"]
        machines = [machine for one in found for machine in one["Instances"]]
        return [m for m in machines if not states or m["State"]["Name"] in states]

    def living(self):
        return self.instances("pending", "running")


@contextmanager
def aws_account(home) -> Iterator[AwsAccount]:
    """Open an account with the instance profile `twohead`; nothing leaves this process.

    Ray writes keys to ``~/.ssh`` and its caches to the temporary folder: both are in ``home``.
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    # What an earlier account of this process holds would still be there.
    urlopen(Request(f"{address}/moto-api/reset", method="POST"), timeout=30).close()
    account = AwsAccount()
    with pytest.MonkeyPatch.context() as patch:
        _enter(patch, home, address)
        iam = boto3.client("iam")
        iam.create_instance_profile(InstanceProfileName="twohead")
        image = boto3.client("ec2").register_image(Name="ubuntu")["ImageId"]
        try:
            with mock.patch.object(
                botocore.client.BaseClient, "_make_api_call", _recorded(account, image)
            ):
                yield account
        finally:
            _forget_clients()
            server.stop()


def _enter(patch, home, address):
    (home / ".ray").mkdir(mode=0o700)
    (home / ".ray/auth_token").write_text(TOKEN)
    (home / ".ray/auth_token").chmod(0o600)
    patch.setenv("HOME", str(home))
    patch.setenv("AWS_ENDPOINT_URL", address)
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_DEFAULT_REGION", REGION)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "RAY_TMPDIR"):
        patch.delenv(name, raising=False)
    patch.setattr(tempfile, "tempdir", str(home))


def _recorded(account, image):
    make_call = botocore.client.BaseClient._make_api_call

    def recorded(client, operation, arguments):
        asked = arguments
        if operation == "RunInstances":
            market = arguments.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
            if market == account.refused_market:
                account.record(operation, asked)
                error = {"Code": "InsufficientInstanceCapacity", "Message": "none of them"}
                raise botocore.exceptions.ClientError({"Error": error}, operation)
            # EC2 looks up `resolve:ssm:...` and gives as many as it has; moto (5.2) knows only
            # its own images, and gives the least.
            arguments = {**arguments, "ImageId": image, "MinCount": arguments["MaxCount"]}
        if operation == "DescribeInstanceTypes":  # all of them take seconds to be read
            arguments = {**arguments, "InstanceTypes": ["m6i.xlarge", "g6.xlarge"]}
        answer = make_call(client, operation, arguments)
        account.record(operation, asked)
        return answer

    return recorded


def _forget_clients():
    """Drop the clients that Ray keeps for a region, which end with the server."""
    for name in ("aws.utils", "aws.config", "aws.node_provider", "providers"):
        module = importlib.import_module(f"ray.autoscaler._private.{name}")
        for thing in vars(module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()
        if hasattr(module, "_clear_provider_cache"):
            module._clear_provider_cache()
