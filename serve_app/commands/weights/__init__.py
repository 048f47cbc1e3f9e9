"""`tandem quantize` and `tandem compare`."""
