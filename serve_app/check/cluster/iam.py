"""Which actions AWS must allow, and whether the policies beside a cluster file allow them.

What is needed was read from Ray 2.60's AWS provider, its launcher and our store.
"""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_READ_MODELS = ("s3:GetObject", "s3:ListBucket")
_READ_IMAGE = (
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
)  # fmt: skip
_AUTOSCALE = (
    "ec2:CreateTags", "ec2:DescribeInstances", "ec2:RunInstances", "ec2:TerminateInstances",
    "iam:PassRole",
)  # fmt: skip
_STOPPED_NODES = ("ec2:StartInstances", "ec2:StopInstances")
# What `ray up` looks up and makes before it starts the head.
_LAUNCH = (
    "ec2:DescribeInstanceTypes", "ec2:DescribeKeyPairs", "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets", "ec2:CreateKeyPair", "ec2:CreateSecurityGroup",
    "ec2:AuthorizeSecurityGroupIngress", "iam:GetInstanceProfile",
)  # fmt: skip


def needed_actions(content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By who needs them: `operator` runs `ray up`, `head` and `worker` are instance profiles."""
    image = str((content.get("docker") or {}).get("image", ""))
    pull = _READ_IMAGE if ".dkr.ecr." in image else ()
    stopped = _STOPPED_NODES if content["provider"].get("cache_stopped_nodes", True) else ()
    return {
        "operator": tuple(sorted({*_LAUNCH, *_AUTOSCALE, *stopped})),
        "head": tuple(sorted({*_AUTOSCALE, *stopped, *_READ_MODELS, *pull})),
        "worker": tuple(sorted({*_READ_MODELS, *pull})),
    }


def policy_problems(folder: Path, needed: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """What the policies `iam/NAME.json` in the file's folder do not allow, a sentence each.

    Says nothing of a policy that is not there: then yours lie elsewhere.
    """
    for name, actions in needed.items():
        path = folder / "iam" / f"{name}.json"
        if not path.is_file():
            continue
        allowed = allowed_actions(json.loads(path.read_text()))
        missing = [a for a in actions if not any(fnmatchcase(a, pattern) for pattern in allowed)]
        if missing:
            yield f"iam/{name}.json does not allow {', '.join(missing)}, which this file needs"


def allowed_actions(policy: Mapping[str, Any]) -> list[str]:
    """Every action, or pattern of actions, that some statement allows."""
    found: list[str] = []
    for statement in policy["Statement"]:
        if statement["Effect"] == "Allow":
            actions = statement["Action"]
            found += [actions] if isinstance(actions, str) else actions
    return found
