#!/usr/bin/env python3
"""In a network of its own, with a resolver and CA files of its own: does a gateway find its peers by name, and trust them?

    names.py BINARY

Answers DNS on 127.0.0.1 and TLS as kafka.test and mqtt.test, whose CA stands where the system has its own. Ends well when the binary
has greeted both, which it does only after it has verified their certificates. To be run by
`unshare --map-root-user --net --mount`.
"""
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading

PATIENCE_S = 60
CONFIG = """
[gateway]
id = "gw-1"
state_dir = "{directory}/state"
free_floor = "1 MiB"
[status]
http = false
[uplink]
brokers = ["kafka.test:9093"]
tls = {{}}
[[mqtt]]
name = "plant"
host = "mqtt.test"
port = 8883
tls = {{}}
[[mqtt.subscribe]]
topic = "plant/{{device}}/state/{{kind}}"
intent = "state"
"""


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificates(directory):
    """A CA, and what it says of both names."""
    ca, key, request = (str(directory / name) for name in ("ca.crt", "ca.key", "server.csr"))
    (directory / "names").write_text("subjectAltName=DNS:kafka.test,DNS:mqtt.test")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test CA", "-keyout", key, "-out", ca)
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", str(directory / "server.key"), "-out", request)
    run("openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "2",
        "-extfile", str(directory / "names"), "-out", str(directory / "server.crt"))


def resolve(server):
    """Every A record is 127.0.0.1 (RFC 1035, 4.1); there are no others."""
    while True:
        question, client = server.recvfrom(512)
        name_end = question.index(0, 12) + 1
        kind = struct.unpack_from("!H", question, name_end)[0]
        asked = question[12:name_end + 4]
        answer = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 60, 4, socket.inet_aton("127.0.0.1")) if kind == 1 else b""
        server.sendto(question[:2] + struct.pack("!HHHHH", 0x8180, 1, bool(answer), 0, 0) + asked + answer, client)


def greet(name, port, directory, greeted):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    with socket.create_server(("127.0.0.1", port)) as server:
        while not greeted.is_set():
            client, _ = server.accept()
            client.settimeout(10)
            try:
                with context.wrap_socket(client, server_side=True) as stream:
                    if stream.recv(1):
                        print(f"{name}: found by name, verified", flush=True)
                        greeted.set()
            except OSError as error:
                print(f"{name}: {error}", flush=True)


def main():
    directory = pathlib.Path(tempfile.mkdtemp())
    run("ip", "link", "set", "lo", "up")
    certificates(directory)
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    run("mount", "--bind", str(directory / "resolv.conf"), "/etc/resolv.conf")
    run("mount", "--bind", str(directory / "ca.crt"), "/etc/ssl/certs/ca-certificates.crt")
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=resolve, args=(server,), daemon=True).start()
    peers = {"kafka.test": (9093, threading.Event()), "mqtt.test": (8883, threading.Event())}
    for name, (port, greeted) in peers.items():
        threading.Thread(target=greet, args=(name, port, directory, greeted), daemon=True).start()
    (directory / "gateway.toml").write_text(CONFIG.format(directory=directory))
    with open(directory / "log", "w") as log:
        gateway = subprocess.Popen([sys.argv[1], "run", "-c", str(directory / "gateway.toml")], stderr=log)
    found = [greeted.wait(PATIENCE_S) for _, greeted in peers.values()]
    gateway.kill()
    if not all(found):
        sys.exit((directory / "log").read_text())


if __name__ == "__main__":
    main()
