"""Asks a cluster for things as someone who has no token, or another one; run on a test's hosts.

``python intruder.py HOST PORT [TOKEN]`` prints a JSON object: per request the HTTP status, or what
went wrong, and how the answer began.
"""

import http.client
import json
import sys

REQUESTS = [
    ("GET", "/api/version"),
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("POST", "/api/jobs/none/stop"),
    ("DELETE", "/api/jobs/none"),
    ("PUT", "/api/packages/gcs/none.zip"),
    ("GET", "/api/cluster_status"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/logs"),
]
JOB = json.dumps({"entrypoint": "touch /tmp/intruded"})


def ask(host: str, port: int, token: str, method: str, path: str) -> list[str]:
    """Return the status of an answer, or what error there was, and its first bytes."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, JOB if method == "POST" else None, headers)
        answer = connection.getresponse()
        return [str(answer.status), answer.read(200).decode("latin1")]
    except (OSError, http.client.HTTPException) as error:
        return [type(error).__name__, ""]
    finally:
        connection.close()


if __name__ == "__main__":
    host, port, *token = sys.argv[1:]
    asked = {
        f"{method} {path}": ask(host, int(port), "".join(token), method, path)
        for method, path in REQUESTS
    }
    print(json.dumps(asked))
