"""A small Chalice app to try the local cloud with, and how to speak to it byte for byte."""

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

APP = '''
"""Says what arrived, and leaves a mark each time its schedule fires."""
import hashlib, os
import boto3
from chalice import Chalice, Rate

app = Chalice(app_name="echo")
TYPES = ["application/json", "application/x-www-form-urlencoded"]

@app.route("/echo", methods=["POST"], content_types=TYPES)
def echo():
    request = app.current_request
    return {
        "sha256": hashlib.sha256(request.raw_body).hexdigest(),
        "headers": request.to_original_event()["multiValueHeaders"],
        "environment": {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "TAU_", "MARK"))},
    }

@app.schedule(Rate(1, unit=Rate.MINUTES))
def ticker(event):
    if "FAIL" in os.environ:
        raise ValueError("the ticker was told to fail")
    boto3.client("s3").put_object(Bucket=os.environ["TAU_BUCKET"], Key=f"logs/tick/{event.event_id}", Body=b"")
'''
CONFIG = {"version": "2.0", "app_name": "echo", "autogen_policy": False, "stages": {"local": {}}}
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}]}


def made_in(folder):
    """The app's folder, filled."""
    (folder / ".chalice").mkdir()
    (folder / ".chalice" / "config.json").write_text(json.dumps(CONFIG))
    (folder / ".chalice" / "policy-local.json").write_text(json.dumps(POLICY))
    (folder / "requirements.txt").touch()
    (folder / "app.py").write_text(APP)
    return folder


def post(url, body, headers=(("Content-Type", "application/json"),), *, chunked=False):
    """POST the exact bytes; headers may come twice."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.putrequest("POST", address.path)
    for name, value in headers:
        connection.putheader(name, value)
    connection.putheader(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))))
    connection.endheaders()
    if chunked:
        half = len(body) // 2
        for piece in (body[:half], body[half:]):
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
    else:
        connection.send(body)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


def processes(folder):
    """Who works in the folder or below: the emulator, and the functions that it runs."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked
    return found
