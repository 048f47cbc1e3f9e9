"""Which replica of the chosen tier: where the call is predicted to be delayed least.

router.py    Ray's side: a Serve request router, built by Serve in every process with a handle
replies.py   where a tier's replies meet that router
places.py    which node a replica is on, and whether the node went
chooser.py   PURE from here on: two random replicas, the session's own, and the choice between them
delay.py     what a call loses among the calls that are already there
others.py    what replicas say of other routers' calls, trusted less the older it is
recent.py    a mapping that forgets
"""
