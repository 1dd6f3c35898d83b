"""Series of numbers: cleaned, put into windows, described, thinned, packed, and compared with what is usual. Pure."""
