"""`tandem check --cluster`: is a cluster file right, large enough for the tiers, and what it costs.

file     the whole check of one file: which kind it is, what is wrong, what it holds
nodes    what a file says of its nodes, whichever kind it is
kuberay  keys of a RayService; makes its serveConfigV2 from models.yaml
gcp      keys of a Compute Engine instance
fit      replicas on nodes
prices   what instances cost, with the date of each figure
iam      which actions AWS must allow, against the policies beside the file
report   the verdict as JSON and as tables
"""
