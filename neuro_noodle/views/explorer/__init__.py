"""The explorer: a page of HTML with a map of one or more runs that can be walked through, without a network."""
