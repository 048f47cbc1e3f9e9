"""Which replica was just sent an adapter's call, until Serve's own news says who has loaded it."""

from serve_app.replica_choice.recent import Recent

# More adapters than are loaded anew within a few seconds.
_MOST_KEPT = 1024
# News goes from the replica to the controller and on to the routers: tenths of a second when they
# are idle, seconds when they are not.
_NEWS_TAKES_S = 5.0


class AdaptersUnderway:
    """The replica to which an adapter was sent last, for as long as the news of it may take.

    Without it, a second call in that time has a second replica load the adapter as well, and
    perhaps unload another one's for it.
    """

    def __init__(self) -> None:
        self._sent: Recent[str, tuple[str, float]] = Recent(_MOST_KEPT)

    def sent(self, adapter: str, replica: str, now_s: float) -> None:
        self._sent.put(adapter, (replica, now_s))

    def replica_for(self, adapter: str, now_s: float) -> str | None:
        replica, sent_s = self._sent.get(adapter) or (None, now_s)
        return replica if now_s - sent_s < _NEWS_TAKES_S else None
