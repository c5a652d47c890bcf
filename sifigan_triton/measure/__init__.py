"""The benchmark: length x concurrency x engine x protocol in one interleaved run, beside the bare engine in-process."""
