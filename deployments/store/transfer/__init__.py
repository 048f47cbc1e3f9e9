"""Models travel: each try goes on where the one before was ended.

push       a folder becomes a published model
upload     one push's folder at the place
pull       a published model becomes a folder
parallel   one job on many pieces, a few at once
journal    which pieces a pull has finished
"""
