"""The receipt names what was connected to outside this machine, and stays over a restart."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.receipt import FILE, UNMARKED, Receipt, outside_host

PROGRAM = """
import socket, sys
from pathlib import Path
from app.receipt import Receipt
receipt = Receipt(Path(sys.argv[1]))
receipt.watch()
for host in ("127.0.0.1", "192.0.2.1"):  # the second one is of a network that nobody has
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect((host, 9))
"""


def test_the_hook_sees_a_connection_that_leaves_this_machine_and_no_other(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, check=False)
    receipt = Receipt(tmp_path)
    assert [(visit.what, visit.hosts) for visit in receipt.visits()] == [(UNMARKED, ("192.0.2.1",))]
    assert receipt.since_start() == []


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (("127.0.0.1", 80), None),
        (("127.8.9.1", 80), None),
        (("::1", 80, 0, 0), None),
        (("localhost", 80), None),
        (("0.0.0.0", 80), None),
        ("/run/socket", None),
        (("10.0.0.1", 80), "10.0.0.1"),
        (("fe80::1%eth0", 80, 0, 2), "fe80::1%eth0"),
        (("huggingface.co", 443), "huggingface.co"),
        (("127.0.0.1.example.org", 443), "127.0.0.1.example.org"),
    ],
)
def test_only_addresses_beyond_this_machine_count(address: object, host: str | None) -> None:
    assert outside_host(address) == host


def test_a_visit_is_kept_with_its_hosts_files_and_bytes(tmp_path: Path) -> None:
    receipt = Receipt(tmp_path)
    visit = receipt.begin("someone/some-model")
    visit.end()
    assert receipt.visits() == []
    visit.connecting("hub.example")
    visit.connecting("storage.example")
    for done in (100, 400, 900):
        visit.bytes_at("model.safetensors", done)
    visit.end()
    (kept,) = Receipt(tmp_path).visits()
    assert (kept.hosts, kept.files) == (("hub.example", "storage.example"), ("model.safetensors",))
    assert kept.num_bytes == 800
    assert receipt.since_start() == [kept]


def test_a_damaged_file_is_an_empty_receipt(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"visits": [1]}', encoding="utf-8")
    assert Receipt(tmp_path).visits() == []
