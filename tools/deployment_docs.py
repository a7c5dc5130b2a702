"""Writes docs/deployment.schema.json and the reference in docs/deployment.md from the dataclasses of a plan.

    python tools/deployment_docs.py [--check]

With --check nothing is written: exit code 1 says that the files are not what the code says.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weft.core.deployment_json import schema

DOCS = Path(__file__).parent.parent / "docs"
PAGE, SCHEMA = DOCS / "deployment.md", DOCS / "deployment.schema.json"
MARK = "<!-- generated below this line by tools/deployment_docs.py -->"

Node = Mapping[str, Any]


def reference(document: Node) -> Iterator[str]:
    """A section for each noun, the plan itself first."""
    found: Mapping[str, Node] = document["$defs"]
    for name in sorted(found, key=lambda each: (each != "Deployment", each)):
        node = found[name]
        yield f"\n### {name}\n"
        if node.get("description"):
            yield " ".join(node["description"].split()) + "\n"
        if "enum" in node:
            yield "One of: " + ", ".join(f"`{value}`" for value in node["enum"]) + "\n"
            continue
        yield "| field | type | may be left out |"
        yield "|---|---|---|"
        required = set(node.get("required", ()))
        for field, kind in node.get("properties", {}).items():
            yield f"| `{field}` | {type_of(kind)} | {'' if field in required else 'yes'} |"


def type_of(node: Node) -> str:
    """In words: `list of Pool`, `number or null`."""
    if "$ref" in node:
        return str(node["$ref"]).rpartition("/")[2]
    if "anyOf" in node:
        return " or ".join(type_of(each) for each in node["anyOf"])
    if node.get("type") == "array":
        return f"list of {type_of(node['items'])}" if node.get("items") else "list"
    if node.get("type") == "object" and "additionalProperties" in node:
        return f"map to {type_of(node['additionalProperties'])}"
    kinds: str | list[str] = node.get("type", "any")
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)


def pages() -> Mapping[Path, str]:
    """What the files should hold."""
    text = schema().decode()
    words = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return {SCHEMA: text, PAGE: words + MARK + "\n" + "\n".join(reference(json.loads(text))) + "\n"}


def main(arguments: list[str]) -> int:
    wanted = pages()
    if "--check" in arguments:
        stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        for path in stale:
            print(f"{path} is not what the code says; run python tools/deployment_docs.py")
        return 1 if stale else 0
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
