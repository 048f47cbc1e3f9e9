"""The router's view of Ray Serve: tiers behind handles, whether they run, the fellow routers."""
