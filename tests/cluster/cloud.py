"""A simulated AWS, run on one host: ``python -m tests.cluster.cloud``.

Each line that it prints is a machine that begins or ends, as a JSON object: ``id``, ``address``,
``market``, ``kind`` (Ray's node type), ``key`` (the public one that opens it) and ``state``.
"""

import json
import os
import time
from typing import Any

PORT = 5555
ADDRESS = "172.31.255.254"
"""In the network of the machines that moto makes up."""
SECONDS = 0.1
CREDENTIALS = {
    "AWS_ENDPOINT_URL": f"http://{ADDRESS}:{PORT}",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-west-2",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""For whoever asks it."""
IMAGE = "ubuntu-of-tests"


def main() -> None:
    """Serve until killed."""
    os.environ.update(CREDENTIALS | {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"})
    import boto3
    from moto.ec2.responses.instances import InstanceResponse
    from moto.server import ThreadedMotoServer

    _teach_image_and_count(InstanceResponse)
    ThreadedMotoServer(ip_address="0.0.0.0", port=PORT, verbose=False).start()
    ec2 = boto3.client("ec2")
    image = ec2.register_image(Name=IMAGE)["ImageId"]
    InstanceResponse.image = image
    boto3.client("iam").create_instance_profile(InstanceProfileName="twohead")
    print(json.dumps({"state": "serving"}), flush=True)
    known: dict[str, str] = {}
    while True:
        for machine in _machines(ec2):
            if known.get(machine["id"]) != machine["state"]:
                known[machine["id"]] = machine["state"]
                print(json.dumps(machine), flush=True)
        time.sleep(SECONDS)


def _teach_image_and_count(responses: Any) -> None:
    """Have moto (5.2) look up ``resolve:ssm:...``, and give as many machines as are asked for."""
    read = responses._get_param

    def parameter(self: Any, name: str, *args: Any, **options: Any) -> Any:
        if name == "MinCount":
            return read(self, "MaxCount", *args, **options)
        value = read(self, name, *args, **options)
        if name == "ImageId" and str(value).startswith("resolve:ssm:"):
            return responses.image
        return value

    responses._get_param = parameter


def _machines(ec2: Any) -> list[dict[str, str]]:
    found = ec2.describe_instances()["Reservations"]
    keys = {
        one["KeyName"]: one["PublicKey"]
        for one in ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    }
    return [_plain(machine, keys) for one in found for machine in one["Instances"]]


def _plain(machine: dict[str, Any], keys: dict[str, str]) -> dict[str, str]:
    tags = {tag["Key"]: tag["Value"] for tag in machine.get("Tags", ())}
    is_over = machine["State"]["Name"] in {"shutting-down", "terminated"}
    return {
        "id": machine["InstanceId"],
        "address": machine.get("PrivateIpAddress", ""),
        "market": machine.get("InstanceLifecycle", "on-demand"),
        "kind": tags.get("ray-user-node-type", ""),
        "key": keys.get(machine.get("KeyName", ""), ""),
        "state": "over" if is_over else "on",
    }


if __name__ == "__main__":
    main()
