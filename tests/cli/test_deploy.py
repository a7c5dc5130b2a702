"""`weft deploy --kubernetes`: files, and what is left to do by hand."""

from dataclasses import replace
from pathlib import Path

import msgspec

from tests.cli.conftest import Weft
from tests.control.test_kubernetes import plan
from weft.core.deployment import DEPLOYMENT_VERSION
from weft.core.deployment_json import encode


def test_the_command_writes_files_and_says_what_is_left(weft: Weft, tmp_path: Path) -> None:
    source = tmp_path / "chat.py"
    source.write_text("# the agent\n")
    path = tmp_path / "plan.json"
    path.write_bytes(encode(replace(plan("h100-sxm", "mi300x"), version=DEPLOYMENT_VERSION, source=f"{source}:chat")))
    wanted = ("--image", "registry.example/weft", "--model-claim", "checkpoints", "-o", tmp_path / "out")
    finished = weft("deploy", path, "--kubernetes", *wanted)
    assert finished.code == 0, finished.err
    written = {each.name for each in (tmp_path / "out").iterdir()}
    assert written == {"10-plan.yaml", "20-ray.yaml", "30-gateway.yaml", "40-guards.yaml", "50-monitoring.yaml"}
    config = msgspec.yaml.decode((tmp_path / "out" / "10-plan.yaml").read_bytes())
    assert config["data"]["chat.py"] == "# the agent\n"
    assert msgspec.json.decode(config["data"]["plan.json"])["source"] == "/etc/weft/chat.py:chat"
    assert "-rocm" in finished.out and "create secret generic weft-chat-keys" in finished.out
    assert "give --kubernetes" in weft("deploy", path, *wanted).err
