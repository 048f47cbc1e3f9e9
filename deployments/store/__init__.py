"""Models on S3 or in a shared folder: published whole, pulled once per node, checked by SHA-256.

manifest   which files a model has, in which pieces, with their sums
hashing    a folder's files and their sums
places/    where models lie: `s3://bucket/prefix` or a folder
transfer/  push and pull
verify     what is there against the manifest
gc         what nobody reads any more
node/      a node's pulled models: one download, LRU eviction, never of what runs
"""
