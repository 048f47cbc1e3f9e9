"""Where a tier's replies meet the request router that Serve built for it.

Serve builds request routers by itself, from a class that it pickled, and hands them no
collaborator of ours. So there is one inbox per deployment and process, found by name: the tier
writes, the router reads before it chooses. A deque, because the two may live in different threads.
"""

from collections import deque
from dataclasses import dataclass

from deployments.messages import Load

# Nobody reads where the user chose another request router.
_MOST_UNREAD = 4096


@dataclass(frozen=True, slots=True)
class Heard:
    """What one message of a reply said. load: None when there was none, as in a crash."""

    request_id: str
    load: Load | None
    is_last: bool
    is_failure: bool
    at_s: float


Inbox = deque[Heard]
_inboxes: dict[tuple[str, str], Inbox] = {}


def inbox(app: str, deployment: str) -> Inbox:
    return _inboxes.setdefault((app, deployment), deque(maxlen=_MOST_UNREAD))
