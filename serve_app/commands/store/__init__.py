"""The subcommands of `tandem store`, and what they share."""
